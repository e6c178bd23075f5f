/**
 * Names that manifests use of each other: every Secret key, ConfigMap, claim, account, volume and port
 * that is referred to must be there, for Kubernetes says so only when the pod does not start.
 */
import type { IRoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IVolume } from 'kubernetes-models/v1/Volume';
import { all, containersOf, type Manifest, type Pod, podsOf } from '../manifests.ts';

/** Keys by name: `Secret/berth-git` -> [`token`]. */
type Keys = ReadonlyMap<string, readonly string[]>;

/** @param provided what is made by other means, as Secrets are */
export function referenceProblems(
  manifests: readonly Manifest[],
  provided: readonly Manifest[],
): string[] {
  const everything = [...manifests, ...provided];
  const keys: Keys = new Map([
    // Kubernetes puts it into every namespace.
    ['ConfigMap/kube-root-ca.crt', ['ca.crt']] as [string, string[]],
    ...all(everything, 'Secret').map(({ metadata, data, stringData }): [string, string[]] => [
      `Secret/${metadata?.name}`,
      Object.keys({ ...data, ...stringData }),
    ]),
    ...all(everything, 'ConfigMap').map(({ metadata, data, binaryData }): [string, string[]] => [
      `ConfigMap/${metadata?.name}`,
      Object.keys({ ...data, ...binaryData }),
    ]),
  ]);
  return [
    ...podsOf(manifests).flatMap((pod) => podProblems(pod, everything, keys)),
    ...bindingProblems(everything),
  ];
}

function isThere(everything: readonly Manifest[], kind: string, name: string): boolean {
  return everything.some((each) => each.kind === kind && each.metadata.name === name);
}

function bindingProblems(everything: readonly Manifest[]): string[] {
  const bindings = everything.filter(({ kind }) => kind === 'RoleBinding');
  return (bindings as unknown as IRoleBinding[]).flatMap(({ metadata, roleRef, subjects = [] }) =>
    [roleRef, ...subjects]
      .filter(({ kind, name }) => !isThere(everything, kind, name))
      .map(({ kind, name }) => `RoleBinding ${metadata?.name}: no ${kind} ${name}`),
  );
}

function podProblems(pod: Pod, everything: readonly Manifest[], keys: Keys): string[] {
  const { volumes = [], serviceAccountName: account } = pod.spec;
  const containers = containersOf(pod.spec);
  const mounted = containers.flatMap(({ volumeMounts = [] }) =>
    volumeMounts.map(({ name }) => name),
  );
  return [
    ...(account && !isThere(everything, 'ServiceAccount', account)
      ? [`no ServiceAccount ${account}`]
      : []),
    ...volumes.flatMap(({ persistentVolumeClaim: claim }) =>
      claim && !isThere(everything, 'PersistentVolumeClaim', claim.claimName)
        ? [`no PersistentVolumeClaim ${claim.claimName}`]
        : [],
    ),
    ...volumes
      .filter(({ name }) => !mounted.includes(name))
      .map(({ name }) => `volume ${name} is not mounted`),
    ...volumes.flatMap((volume) => volumeProblems(volume, keys)),
    ...containers.flatMap((container) => containerProblems(container, volumes, keys)),
  ];
}

function volumeProblems({ secret, configMap, projected }: IVolume, keys: Keys): string[] {
  const sources = [
    ...(secret ? [{ secret: { ...secret, name: secret.secretName } }] : []),
    ...(configMap ? [{ configMap }] : []),
    ...(projected?.sources ?? []),
  ];
  return sources.flatMap((source) => [
    ...(source.secret ? missing(keys, 'Secret', source.secret) : []),
    ...(source.configMap ? missing(keys, 'ConfigMap', source.configMap) : []),
  ]);
}

/** Optional ones count too: a misspelt name there fails silently. */
function missing(
  keys: Keys,
  kind: string,
  { name, items = [] }: { name?: string; items?: { key: string }[] },
): string[] {
  const found = keys.get(`${kind}/${name}`);
  if (!found) return [`no ${kind} ${name}`];
  return items
    .filter(({ key }) => !found.includes(key))
    .map(({ key }) => `${kind} ${name} has no key ${key}`);
}

function containerProblems(container: IContainer, volumes: readonly IVolume[], keys: Keys) {
  const { name, env = [], envFrom = [], volumeMounts = [], ports = [] } = container;
  const paths = volumeMounts.map(({ mountPath }) => mountPath);
  const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe];
  const asked = probes.flatMap((probe) => probe?.httpGet?.port ?? probe?.tcpSocket?.port ?? []);
  return [
    ...env.flatMap(({ valueFrom }) => [
      ...refer(keys, 'Secret', valueFrom?.secretKeyRef),
      ...refer(keys, 'ConfigMap', valueFrom?.configMapKeyRef),
    ]),
    ...envFrom.flatMap(({ secretRef, configMapRef }) => [
      ...(secretRef ? missing(keys, 'Secret', secretRef) : []),
      ...(configMapRef ? missing(keys, 'ConfigMap', configMapRef) : []),
    ]),
    ...volumeMounts
      .filter((mount) => !volumes.some((volume) => volume.name === mount.name))
      .map((mount) => `${name} mounts ${mount.name}, which is no volume`),
    ...paths
      .filter((path, index) => paths.indexOf(path) !== index)
      .map((path) => `${name} has two mounts at ${path}`),
    ...asked
      .filter((port) => !ports.some((each) => each.name === port || each.containerPort === port))
      .map((port) => `a probe of ${name} asks port ${port}, which it does not have`),
  ];
}

function refer(keys: Keys, kind: string, reference?: { name?: string; key: string }): string[] {
  return reference ? missing(keys, kind, { name: reference.name, items: [reference] }) : [];
}
