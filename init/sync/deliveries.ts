/**
 * Judges a delivery of a webhook: is it genuine, new, and a push to the ref that init follows?
 * Invariants: nothing of the body is used before the signature, or the token of GitLab, is verified,
 * in constant time. The id of a delivery is not signed, so a repeated delivery is recognised by the
 * digest of its body.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';

export interface Delivery {
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** `push`: a push to the ref; `other`: genuine, and nothing to do; `forged`: refuse it. */
export type Judgement = 'push' | 'other' | 'repeated' | 'forged';

const push = z.object({
  ref: z.string().max(1_000),
  /** GitHub, Gitea and Forgejo; GitLab has `project`. */
  repository: z.object({ default_branch: z.string().optional() }).optional(),
  project: z.object({ default_branch: z.string().nullish() }).optional(),
});

const mostRemembered = 1_000;

export class Deliveries {
  /** Digests of the bodies of earlier deliveries. */
  readonly #seen = new LRUCache<string, true>({ max: mostRemembered });

  /** @param ref BERTH_REF; undefined for the default branch */
  judge({ headers, body }: Delivery, secret: string, ref: string | undefined): Judgement {
    if (!isGenuine(headers, body, secret)) return 'forged';
    const digest = createHash('sha256').update(body).digest('base64url');
    if (this.#seen.has(digest)) return 'repeated';
    this.#seen.set(digest, true);
    if (!isPushEvent(headers)) return 'other';
    const pushed = push.safeParse(parse(headers, body));
    if (!pushed.success) return 'other';
    const { ref: name, repository, project } = pushed.data;
    const branch = repository?.default_branch ?? project?.default_branch ?? undefined;
    return isWanted(name, ref, branch) ? 'push' : 'other';
  }
}

/** GitHub, Gitea and Forgejo sign the body; GitLab sends the secret itself. */
function isGenuine(headers: IncomingHttpHeaders, body: Buffer, secret: string): boolean {
  const signature =
    /^sha256=([0-9a-f]{64})$/.exec(one(headers, 'x-hub-signature-256'))?.[1] ??
    (one(headers, 'x-gitea-signature') || one(headers, 'x-forgejo-signature'));
  if (signature !== '') {
    return isEqual(signature, createHmac('sha256', secret).update(body).digest('hex'));
  }
  const token = one(headers, 'x-gitlab-token');
  return token !== '' && isEqual(token, secret);
}

/** Compares digests, so that neither the length nor the time shows anything. */
function isEqual(given: string, wanted: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

function isPushEvent(headers: IncomingHttpHeaders): boolean {
  const names = ['x-github-event', 'x-gitea-event', 'x-forgejo-event', 'x-gitlab-event'];
  const event = names.map((name) => one(headers, name)).find((text) => text !== '');
  return event !== undefined && /^(push|push hook|tag push hook)$/i.test(event);
}

function isWanted(name: string, ref: string | undefined, branch: string | undefined): boolean {
  // Without the name of the default branch, a request for the refs decides.
  if (ref === undefined) return branch === undefined || name === `refs/heads/${branch}`;
  return name === ref || name === `refs/heads/${ref}` || name === `refs/tags/${ref}`;
}

function one(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return typeof value === 'string' ? value : '';
}

/** GitHub can send the JSON as a form too. */
function parse(headers: IncomingHttpHeaders, body: Buffer): unknown {
  const text = body.toString('utf8');
  const isForm = one(headers, 'content-type').startsWith('application/x-www-form-urlencoded');
  try {
    return JSON.parse(isForm ? (new URLSearchParams(text).get('payload') ?? '') : text);
  } catch {
    return undefined;
  }
}
