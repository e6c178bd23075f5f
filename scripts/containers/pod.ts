/**
 * Converts the pod of the manifests to arguments of `podman run`, because `podman kube play` (4.3)
 * handles Secrets, probes, restarts and memory requests wrongly.
 * Invariant: each field of the pod or of a container is converted, or is listed here as a field
 * without an equivalent in podman. Any other field is an error, so that no field of the manifests
 * is ignored.
 */
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export interface Manifest {
  kind: string;
  metadata: { name: string };
  data?: Record<string, string>;
  spec?: { template?: { spec?: PodSpec } };
}

export interface PodSpec {
  securityContext?: PodSecurity;
  initContainers?: Container[];
  containers: Container[];
  volumes?: Volume[];
  terminationGracePeriodSeconds?: number;
  [more: string]: unknown;
}

interface PodSecurity {
  runAsUser?: number;
  runAsGroup?: number;
  fsGroup?: number;
}

export interface Container {
  name: string;
  image: string;
  args?: string[];
  env?: Variable[];
  envFrom?: { configMapRef?: { name: string } }[];
  securityContext?: {
    runAsUser?: number;
    runAsGroup?: number;
    allowPrivilegeEscalation?: boolean;
    readOnlyRootFilesystem?: boolean;
    capabilities?: { add?: string[]; drop?: string[] };
    [more: string]: unknown;
  };
  resources?: { limits?: Record<string, string>; requests?: Record<string, string> };
  volumeMounts?: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[];
  [more: string]: unknown;
}

interface Variable {
  name: string;
  value?: string;
  valueFrom?: {
    secretKeyRef?: { name: string; key: string; optional?: boolean };
    resourceFieldRef?: { resource: string };
  };
}

interface Item {
  key: string;
  path: string;
}

interface Volume {
  name: string;
  emptyDir?: unknown;
  image?: { reference: string };
  persistentVolumeClaim?: { claimName: string };
  secret?: { secretName: string; optional?: boolean; defaultMode?: number };
  projected?: {
    defaultMode?: number;
    sources: { secret?: { name: string; items?: Item[]; optional?: boolean } }[];
  };
}

/**
 * Fields without an equivalent in podman: the kubelet uses them, or another test checks them
 * (manifests.test.ts).
 */
const left = {
  pod: [
    'automountServiceAccountToken',
    'enableServiceLinks',
    'serviceAccountName',
    'restartPolicy',
    'terminationGracePeriodSeconds',
  ],
  container: [
    'ports',
    'startupProbe',
    'livenessProbe',
    'readinessProbe',
    'lifecycle',
    'imagePullPolicy',
    'restartPolicy',
    'terminationMessagePolicy',
  ],
  podSecurity: ['runAsNonRoot', 'fsGroupChangePolicy', 'seccompProfile'],
  security: ['runAsNonRoot', 'seccompProfile', 'privileged'],
};

export type Secrets = Record<string, Record<string, string>>;

/** A volume that must be created before the pod starts, in the pod's directory under its name. */
export type VolumeToMake =
  | { name: string; kind: 'empty' }
  | { name: string; kind: 'claim'; claim: string }
  | { name: string; kind: 'files'; files: Record<string, string>; mode: number };

export function parseManifests(text: string): Manifest[] {
  // YAML 1.1, as in Kubernetes: 0440 is octal.
  return parseAllDocuments(text, { version: '1.1' }).map((document) => document.toJS());
}

export function podOf(manifests: readonly Manifest[]): PodSpec {
  const [found, another] = manifests.filter(({ kind }) => kind === 'Deployment');
  const spec = found?.spec?.template?.spec;
  if (!spec || another) throw new Error('there is not just one Deployment');
  return spec;
}

/** @throws Error if the kind of a volume is unknown, or its Secret is missing */
export function volumesOf({ volumes = [] }: PodSpec, secrets: Secrets): VolumeToMake[] {
  const own = volumes.filter(({ image }) => !image);
  return own.map((volume): VolumeToMake => {
    const { name, emptyDir, persistentVolumeClaim: claim, secret, projected, ...more } = volume;
    nothingElse(`volume ${name}`, more, []);
    if (claim) return { name, kind: 'claim', claim: claim.claimName };
    if (emptyDir) return { name, kind: 'empty' };
    const { secretName = '', optional = false } = secret ?? {};
    const sources = projected?.sources ?? [{ secret: { name: secretName, optional } }];
    const files = Object.assign({}, ...sources.map((source) => filesOf(source.secret, secrets)));
    const mode = (secret ?? projected)?.defaultMode ?? 0o644;
    return { name, kind: 'files', files, mode };
  });
}

function filesOf(
  source: { name: string; items?: Item[]; optional?: boolean } | undefined,
  secrets: Secrets,
): Record<string, string> {
  if (!source) throw new Error('only Secrets are projected here');
  const secret = secrets[source.name];
  if (!secret && source.optional) return {};
  if (!secret) throw new Error(`there is no Secret ${source.name}`);
  const items = source.items ?? Object.keys(secret).map((key) => ({ key, path: key }));
  return Object.fromEntries(
    items.map(({ key, path }) => {
      const content = secret[key];
      if (content === undefined) throw new Error(`the Secret ${source.name} has no key ${key}`);
      return [path, content];
    }),
  );
}

export interface RunOptions {
  manifests: readonly Manifest[];
  container: string;
  /** The name of the podman container. */
  name: string;
  /** The directory with the pod's volumes, each under its name, and the file `termination-log`. */
  directory: string;
  secrets: Secrets;
  /** The image to run for an image of the manifests. */
  image: string;
  /** Additional environment variables. */
  settings?: Record<string, string>;
  /** Changes the pod, like a patch. */
  patch?: (pod: PodSpec) => void;
}

/** Returns the arguments after `podman run`. @throws Error for an unknown field of the manifests */
export function runArguments(options: RunOptions): string[] {
  const pod = structuredClone(podOf(options.manifests));
  options.patch?.(pod);
  const {
    securityContext: common = {},
    initContainers = [],
    containers,
    volumes = [],
    ...more
  } = pod;
  nothingElse('pod', more, left.pod);
  const { runAsUser, runAsGroup, fsGroup, ...moreSecurity } = common;
  nothingElse("pod's securityContext", moreSecurity, left.podSecurity);
  const found = [...initContainers, ...containers].find(({ name }) => name === options.container);
  if (!found) throw new Error(`there is no container ${options.container}`);
  const { name, image, args = [], env, envFrom, securityContext = {}, resources, ...rest } = found;
  const { volumeMounts = [], ...unknown } = rest;
  nothingElse(`container ${name}`, unknown, left.container);
  const user = securityContext.runAsUser ?? runAsUser;
  const group = securityContext.runAsGroup ?? runAsGroup;
  const { memory, ...otherLimits } = resources?.limits ?? {};
  nothingElse(`limits of ${name}`, otherLimits, []);
  const mounts = volumeMounts.map(({ name, mountPath, subPath, readOnly, ...more }) => {
    nothingElse(`volumeMount ${name}`, more, []);
    const { image } = volumes.find((volume) => volume.name === name) ?? {};
    if (image) {
      const { reference, ...unknown } = image;
      nothingElse(`image of ${name}`, unknown, ['pullPolicy']);
      return ['--mount', `type=image,source=${reference},destination=${mountPath}`];
    }
    const path = join(options.directory, name, subPath ?? '');
    return ['--volume', `${path}:${mountPath}${readOnly ? ':ro' : ''}`];
  });
  return [
    ['--name', options.name],
    // The host's network, for the stand-ins on loopback; no other network is needed.
    ['--network', 'host'],
    user === undefined ? [] : ['--user', `${user}:${group ?? 0}`],
    fsGroup === undefined ? [] : ['--group-add', String(fsGroup)],
    ...confinement(name, securityContext).map((flag) => [flag]),
    memory === undefined ? [] : ['--memory', bytes(memory), '--memory-swap', bytes(memory)],
    ...Object.entries({
      ...environmentOf(found, options),
      // Kubernetes sets it in every container.
      KUBERNETES_SERVICE_HOST: '192.0.2.1',
      ...options.settings,
    }).map(([name, value]) => ['--env', `${name}=${value}`]),
    ...mounts,
    ['--volume', `${join(options.directory, 'termination-log')}:/dev/termination-log`],
    [options.image, ...args],
  ].flat();
}

function confinement(name: string, security: NonNullable<Container['securityContext']>): string[] {
  const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities = {}, ...more } = security;
  const { runAsUser: _user, runAsGroup: _group, ...unknown } = more;
  nothingElse(`securityContext of ${name}`, unknown, left.security);
  return [
    ...(readOnlyRootFilesystem ? ['--read-only', '--read-only-tmpfs=false'] : []),
    ...(allowPrivilegeEscalation === false ? ['--security-opt=no-new-privileges'] : []),
    ...(capabilities.drop ?? []).map((one) => `--cap-drop=${one}`),
    ...(capabilities.add ?? []).map((one) => `--cap-add=${one}`),
  ];
}

function environmentOf(
  { env = [], envFrom = [], resources }: Container,
  { manifests, secrets }: RunOptions,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { configMapRef } of envFrom) {
    const map = manifests.find(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === configMapRef?.name,
    );
    if (!map) throw new Error(`there is no ConfigMap ${configMapRef?.name}`);
    Object.assign(found, map.data);
  }
  for (const { name, value, valueFrom } of env) {
    const { secretKeyRef: key, resourceFieldRef: field } = valueFrom ?? {};
    const text = key ? secrets[key.name]?.[key.key] : field ? limitOf(field, resources) : value;
    if (text !== undefined) found[name] = text;
    else if (!key?.optional) throw new Error(`nothing gives a value to ${name}`);
  }
  return found;
}

function limitOf(
  { resource }: { resource: string },
  resources: Container['resources'],
): string | undefined {
  const limit = resources?.limits?.[resource.replace('limits.', '')];
  return limit && bytes(limit);
}

function bytes(quantity: string): string {
  const [, number, unit = ''] = /^(\d+)([KMG]i)?$/.exec(quantity) ?? [];
  if (number === undefined) throw new Error(`the quantity ${quantity} is not known here`);
  return String(Number(number) * 1024 ** ['', 'Ki', 'Mi', 'Gi'].indexOf(unit));
}

function nothingElse(where: string, more: object, known: readonly string[]): void {
  const unknown = Object.keys(more).filter((key) => !known.includes(key));
  if (unknown.length > 0) throw new Error(`${where} has ${unknown.join(', ')}, not known here`);
}
