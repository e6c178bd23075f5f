/**
 * The Secrets of a cluster, as the Kubernetes API keeps them.
 * Invariants: every change gives a new resourceVersion and a patch that changes nothing gives none;
 * a patch that names another resourceVersion than the current one is a conflict.
 */
import { randomUUID } from 'node:crypto';

export interface Secret {
  apiVersion: 'v1';
  kind: 'Secret';
  metadata: {
    name: string;
    namespace: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    annotations?: Record<string, string>;
    labels?: Record<string, string>;
  };
  /** Base64. */
  data?: Record<string, string>;
  type: string;
}

/** A refusal, as the API's `Status` object tells it. */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

type Json = Record<string, unknown>;

export class Secrets {
  readonly #secrets = new Map<string, Secret>();
  #version = 1_000;

  get(namespace: string, name: string): Secret {
    const secret = this.#secrets.get(`${namespace}/${name}`);
    if (secret) return secret;
    throw new Refusal(404, 'NotFound', `secrets "${name}" not found`);
  }

  put(namespace: string, name: string, values: Record<string, string>): Secret {
    const data = Object.fromEntries(
      Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
    );
    const secret: Secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        ...{ name, namespace, uid: randomUUID(), resourceVersion: String(++this.#version) },
        creationTimestamp: new Date().toISOString(),
      },
      data,
      type: 'Opaque',
    };
    this.#secrets.set(`${namespace}/${name}`, secret);
    return secret;
  }

  delete(namespace: string, name: string): void {
    this.#secrets.delete(`${namespace}/${name}`);
  }

  /** @param patch a JSON merge patch (RFC 7386); a strategic one means the same for a Secret */
  patch(namespace: string, name: string, patch: Json): Secret {
    const current = this.get(namespace, name);
    const { resourceVersion, ...wanted } = (patch.metadata ?? {}) as Json;
    if (resourceVersion !== undefined && resourceVersion !== current.metadata.resourceVersion) {
      throw new Refusal(
        409,
        'Conflict',
        `Operation cannot be fulfilled on secrets "${name}": the object has been modified; please apply your changes to the latest version and try again`,
      );
    }
    const { stringData, ...rest } = patch;
    const written = Object.entries((stringData ?? {}) as Record<string, string>).map(
      ([key, value]) => [key, Buffer.from(value).toString('base64')] as const,
    );
    const data = { ...((rest.data ?? {}) as Json), ...Object.fromEntries(written) };
    const next = merge(current, { ...rest, data, metadata: wanted }) as Secret;
    for (const [key, value] of Object.entries(next.data ?? {})) {
      if (typeof value !== 'string' || !base64.test(value)) {
        throw new Refusal(400, 'BadRequest', `illegal base64 data at key ${key}`);
      }
      if (!/^[-._a-zA-Z0-9]{1,253}$/.test(key)) {
        throw new Refusal(422, 'Invalid', `data[${key}]: Invalid value`);
      }
    }
    if (JSON.stringify(next) === JSON.stringify(current)) return current;
    next.metadata.resourceVersion = String(++this.#version);
    this.#secrets.set(`${namespace}/${name}`, next);
    return next;
  }
}

function merge(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = merge(merged[key], value);
  }
  return merged;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
