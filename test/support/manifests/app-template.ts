/**
 * The values of bjw-s's chart app-template, as far as the example uses them, as the Deployment, Service
 * and claim that the chart makes of them. Closed: a word that is not known here is an error. The chart
 * itself is not run; its values.schema.json (4.1.1) takes the example.
 */
import type { Manifest } from '../manifests.ts';

type Values = Record<string, unknown>;

/** The manifests of a release with this name. @throws for a key that is not known */
export function fromAppTemplate(release: string, values: Values): Manifest[] {
  const { controllers, configMaps, service, persistence } = take(values, [
    'controllers',
    'configMaps',
    'service',
    'persistence',
  ]);
  return [
    ...each(controllers).map(([name, it]) => deployment(release, name, it, each(persistence))),
    ...each(configMaps).map(([, it]) =>
      manifest('v1', 'ConfigMap', release, { data: take(it, ['data']).data }),
    ),
    ...each(service).map(([, it]) => serviceOf(release, it)),
    ...each(persistence)
      .filter(([, it]) => it.type === 'persistentVolumeClaim')
      .map(([, it]) => manifest('v1', 'PersistentVolumeClaim', release, { spec: claim(it) })),
  ];
}

function manifest(apiVersion: string, kind: string, name: string, rest: object): Manifest {
  return { apiVersion, kind, metadata: { name }, ...rest };
}

function deployment(release: string, name: string, values: Values, volumes: [string, Values][]) {
  const known = ['replicas', 'strategy', 'pod', 'initContainers', 'containers'];
  const { replicas, strategy, pod, initContainers, containers } = take(values, known);
  const { labels, ...options } = (pod ?? {}) as Values;
  const matchLabels = { 'app.kubernetes.io/name': release };
  const list = (from: unknown) =>
    each(from).map(([own, it]) => container(release, own, it, mounts(volumes, name, own)));
  const spec = {
    ...options,
    initContainers: list(initContainers),
    containers: list(containers),
    volumes: volumes.map(([own, it]) => ({ name: own, ...volume(release, it) })),
  };
  const template = { metadata: { labels: { ...matchLabels, ...(labels as object) } }, spec };
  return manifest('apps/v1', 'Deployment', release, {
    spec: { replicas, strategy: { type: strategy }, selector: { matchLabels }, template },
  });
}

function container(release: string, name: string, values: Values, volumeMounts: object[]) {
  const known = ['image', 'env', 'envFrom', 'ports', 'probes'];
  const asTheyAre = ['terminationMessagePolicy', 'resources', 'securityContext'];
  const { image, env, envFrom, ports, probes, ...rest } = take(values, [...known, ...asTheyAre]);
  const { repository, tag } = take(image, ['repository', 'tag']);
  const probe = Object.fromEntries(
    each(probes).map(([kind, it]) => [
      `${kind}Probe`,
      take(it, ['enabled', 'custom', 'spec']).spec,
    ]),
  );
  return {
    ...rest,
    ...probe,
    name,
    image: `${repository}:${tag}`,
    env: Object.entries(env as object).map(([variable, value]) =>
      typeof value === 'string' ? { name: variable, value } : { name: variable, ...value },
    ),
    envFrom: (envFrom as Values[]).map((from) => {
      const { configMapRef } = take(from, ['configMapRef']);
      take(configMapRef, ['identifier']);
      return { configMapRef: { name: release } };
    }),
    ...(ports ? { ports } : {}),
    volumeMounts,
  };
}

function mounts(volumes: [string, Values][], controller: string, own: string): object[] {
  return volumes.flatMap(([name, { advancedMounts }]) => {
    const at = each(advancedMounts).find(([key]) => key === controller)?.[1]?.[own];
    return ((at ?? []) as Values[]).map((mount) => {
      const { path, ...rest } = take(mount, ['path', 'readOnly']);
      return { name, mountPath: path, ...rest };
    });
  });
}

function volume(release: string, { type, ...values }: Values): object {
  if (type === 'persistentVolumeClaim') return { [type]: { claimName: release } };
  if (type === 'custom') return take(values, ['volumeSpec', 'advancedMounts']).volumeSpec as object;
  if (type !== 'emptyDir') throw new Error(`${type} is not known here`);
  return { emptyDir: { sizeLimit: take(values, ['sizeLimit', 'advancedMounts']).sizeLimit } };
}

function claim(values: Values) {
  const known = ['type', 'accessMode', 'size', 'retain', 'advancedMounts'];
  const { accessMode, size } = take(values, known);
  return { accessModes: [accessMode], resources: { requests: { storage: size } } };
}

function serviceOf(release: string, values: Values): Manifest {
  const { ports } = take(values, ['controller', 'ports']);
  const list = each(ports).map(([name, it]) => ({ name, ...take(it, ['port', 'targetPort']) }));
  const selector = { 'app.kubernetes.io/name': release };
  return manifest('v1', 'Service', release, { spec: { selector, ports: list } });
}

function each(values: unknown): [string, Values][] {
  return Object.entries((values ?? {}) as Record<string, Values>);
}

function take(values: unknown, known: readonly string[]): Values {
  const unknown = Object.keys(values as object).filter((key) => !known.includes(key));
  if (unknown.length > 0) throw new Error(`${unknown.join(', ')} is not known here`);
  return values as Values;
}
