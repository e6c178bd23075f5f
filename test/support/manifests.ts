/** Manifests as a cluster would get them: rendered by kubectl, read as Kubernetes reads YAML. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { IDeployment } from 'kubernetes-models/apps/v1/Deployment';
import type { IStatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPersistentVolumeClaim } from 'kubernetes-models/v1/PersistentVolumeClaim';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import type { ISecret } from 'kubernetes-models/v1/Secret';
import type { IService } from 'kubernetes-models/v1/Service';
import { parseAllDocuments, stringify } from 'yaml';

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  [field: string]: unknown;
}

interface Kinds {
  ConfigMap: IConfigMap;
  Deployment: IDeployment;
  StatefulSet: IStatefulSet;
  PersistentVolumeClaim: IPersistentVolumeClaim;
  Secret: ISecret;
  Service: IService;
}

export const manifestsDirectory = join(import.meta.dirname, '../../manifests');

/**
 * Why nothing can be rendered here, or false. Components need kustomize 2.1, and Debian 12 has a
 * kubectl with 2.0. In CI that is a failure, not a reason to test less.
 */
export function cannotRender(): string | false {
  if (process.env.CI === 'true') return false;
  try {
    const options = { stdio: 'pipe', encoding: 'utf8' } as const;
    const output = execFileSync('kubectl', ['version', '--client', '-o', 'json'], options);
    return JSON.parse(output).kustomizeVersion ? false : 'kubectl is older than 1.21';
  } catch {
    return 'kubectl is not installed';
  }
}

/** What `kubectl apply -k directory` would send. */
export function render(directory: string): Manifest[] {
  return parse(execFileSync('kubectl', ['kustomize', directory], { encoding: 'utf8' }));
}

export interface Overlay {
  /** Directories or files of manifests/. */
  resources: readonly string[];
  /** Names of manifests/components. */
  components?: readonly string[];
  /** Whatever else a kustomization can say. */
  more?: Record<string, unknown>;
}

/** Renders a kustomization that is written into `directory`, which may be there already. */
export function renderOverlay(directory: string, { resources, components = [], more }: Overlay) {
  mkdirSync(directory, { recursive: true });
  const from = (path: string) => relative(directory, join(manifestsDirectory, path));
  const kustomization = {
    resources: resources.map(from),
    components: components.map((name) => from(`components/${name}`)),
    ...more,
  };
  writeFileSync(join(directory, 'kustomization.yaml'), stringify(kustomization));
  return render(directory);
}

/** The names of all components. */
export function listComponents(): string[] {
  const directory = join(manifestsDirectory, 'components');
  return readdirSync(directory).filter((name) =>
    existsSync(join(directory, name, 'kustomization.yaml')),
  );
}

export function parse(text: string): Manifest[] {
  // As Kubernetes reads it: 0440 is octal.
  return parseAllDocuments(text, { version: '1.1' })
    .map((document): Manifest | null => document.toJS())
    .filter((manifest) => manifest !== null);
}

/** All manifests of this kind. */
export function all<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K): Kinds[K][] {
  return manifests.filter((manifest) => manifest.kind === kind) as unknown as Kinds[K][];
}

/** The only manifest of this kind. */
export function only<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K): Kinds[K] {
  const [found, another] = all(manifests, kind);
  if (!found || another) throw new Error(`there is not just one ${kind}`);
  return found;
}

export interface Pod {
  name: string;
  labels: Record<string, string>;
  spec: IPodSpec;
}

/** The pods of all Deployments and StatefulSets. */
export function podsOf(manifests: readonly Manifest[]): Pod[] {
  const sets = [...all(manifests, 'Deployment'), ...all(manifests, 'StatefulSet')];
  return sets.flatMap(({ metadata, spec }) => {
    const template = spec?.template;
    if (!template?.spec) return [];
    const labels = template.metadata?.labels ?? {};
    return [{ name: metadata?.name ?? '', labels, spec: withClaims(template.spec, spec) }];
  });
}

/** The claims of a StatefulSet are volumes of each of its pods. */
function withClaims(pod: IPodSpec, spec: IStatefulSet['spec'] | IDeployment['spec']): IPodSpec {
  const claims = spec && 'volumeClaimTemplates' in spec ? (spec.volumeClaimTemplates ?? []) : [];
  if (claims.length === 0) return pod;
  const volumes = claims.map(({ metadata }) => ({ name: metadata?.name ?? '' }));
  return { ...pod, volumes: [...(pod.volumes ?? []), ...volumes] };
}

export function containersOf({ initContainers, containers }: IPodSpec): IContainer[] {
  return [...(initContainers ?? []), ...containers];
}

export function containerOf(pod: IPodSpec, name: string): IContainer {
  const found = containersOf(pod).find((container) => container.name === name);
  if (!found) throw new Error(`the pod has no container ${name}`);
  return found;
}
