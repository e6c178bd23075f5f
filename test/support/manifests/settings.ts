/**
 * The settings that manifests give to berth's containers, read by the very functions that the programs
 * read them with: each name exists for that program, each value is valid, and the files that are named
 * are mounted, and the size limits of volumes are known to who writes there.
 */
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import { initDefinitions, readInitConfig } from '../../../init/config.ts';
import type { Definitions } from '../../../shared/config.ts';
import { messageOf } from '../../../shared/errors.ts';
import { knownSettings } from '../../../shared/known-settings.ts';
import { readSupervisorConfig, supervisorDefinitions } from '../../../supervisor/config.ts';
import { all, containersOf, type Manifest, podsOf } from '../manifests.ts';

const proxyVariables = /^(HTTPS?|NO)_PROXY$/i;
const cliVariables = /^(ANTHROPIC|CLAUDE_CODE|OTEL)_/;

/** What a container runs; undefined if it is not of berth. */
function programOf({ image = '', args = [] }: IContainer) {
  if (/(^|\/)berth-init:/.test(image)) return 'init';
  if (!/(^|\/)berth-runtime:/.test(image)) return undefined;
  return args.length === 0 || args[0] === 'serve' ? 'serve' : 'command';
}

export function settingProblems(manifests: readonly Manifest[]): string[] {
  return podsOf(manifests).flatMap(({ spec }) =>
    containersOf(spec).flatMap((container) => {
      const program = programOf(container);
      if (!program) return [];
      return [
        ...nameProblems(container, program, manifests),
        ...valueProblems(container, program, manifests),
        ...fileProblems(container, spec, manifests),
        ...(program === 'serve' ? limitProblems(container, spec) : []),
      ];
    }),
  );
}

function nameProblems(
  { name: who, env = [] }: IContainer,
  program: string,
  manifests: readonly Manifest[],
) {
  const own = { init: namesOf(initDefinitions), serve: namesOf(supervisorDefinitions) }[program];
  const known = own ?? knownSettings;
  const isKnown = (name: string, names: readonly string[]) =>
    names.includes(name) || names.includes(name.replace(/_FILE$/, '')) || proxyVariables.test(name);
  const shared = settingsMaps(manifests).flatMap(({ data = {} }) => Object.keys(data));
  return [
    ...env
      .map(({ name }) => name)
      .filter((name) => !isKnown(name, known))
      .filter((name) => program === 'init' || !cliVariables.test(name))
      .map((name) => `${who}: ${name} is no setting of it`),
    ...shared
      .filter((name) => !isKnown(name, knownSettings) && !cliVariables.test(name))
      .map((name) => `berth-settings: ${name} is no setting`),
  ];
}

function namesOf(definitions: Definitions): string[] {
  return Object.values(definitions).flatMap(({ name, aliases = [] }) => [name, ...aliases]);
}

function settingsMaps(manifests: readonly Manifest[]) {
  return all(manifests, 'ConfigMap').filter(({ metadata }) =>
    metadata?.name?.startsWith('berth-settings'),
  );
}

/** What the container finds in its environment, without what comes from Secrets. */
export function environmentOf(container: IContainer, manifests: readonly Manifest[]) {
  const environment: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom ?? []) {
    const map = all(manifests, 'ConfigMap').find(
      ({ metadata }) => metadata?.name === configMapRef?.name,
    );
    Object.assign(environment, map?.data);
  }
  for (const { name, value } of container.env ?? []) if (value) environment[name] = value;
  return environment;
}

function valueProblems(container: IContainer, program: string, manifests: readonly Manifest[]) {
  // The files of these two are read with the settings, and are of Secrets.
  const { BERTH_GIT_TOKEN_FILE, BERTH_REDIS_URL_FILE, ...environment } = environmentOf(
    container,
    manifests,
  );
  // The base leaves that to the overlay.
  environment.BERTH_REPO ||= 'you/dot-claude';
  try {
    if (program === 'init') return readInitConfig(environment).warnings;
    if (program === 'serve') return readSupervisorConfig(environment).warnings;
    return [];
  } catch (error) {
    return [`${container.name}: ${messageOf(error)}`];
  }
}

function fileProblems(
  { name, env = [], volumeMounts = [] }: IContainer,
  pod: IPodSpec,
  manifests: readonly Manifest[],
) {
  const named = env.filter((each) => /_(FILE|SOURCE)$/.test(each.name) && each.value);
  return named.flatMap(({ name: setting, value: path = '' }) => {
    const mount = volumeMounts.find(
      ({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`),
    );
    if (!mount) return [`${name}: nothing is mounted at ${path} of ${setting}`];
    const files = filesOf(pod, mount.name, manifests);
    const file = path.slice(mount.mountPath.length + 1);
    return file === '' || files === undefined || files.includes(file)
      ? []
      : [`${name}: there is no ${file} at ${mount.mountPath} for ${setting}`];
  });
}

function limitProblems({ name, env = [], volumeMounts = [] }: IContainer, pod: IPodSpec) {
  const limits = volumeMounts.flatMap(({ name: volume, mountPath }) => {
    const limit = pod.volumes?.find((each) => each.name === volume)?.emptyDir?.sizeLimit;
    return limit === undefined ? [] : `${mountPath}=${limit}`;
  });
  const said = env.find((each) => each.name === 'BERTH_DISK_LIMITS')?.value?.split(',') ?? [];
  const [are, says] = [limits, said].map((each) => each.toSorted().join(','));
  return are === says ? [] : [`${name}: BERTH_DISK_LIMITS is ${says}, the volumes have ${are}`];
}

/** The files of a projected volume; undefined where a Secret is mounted whole. */
function filesOf({ volumes = [] }: IPodSpec, name: string, manifests: readonly Manifest[]) {
  const volume = volumes.find((each) => each.name === name);
  const map = all(manifests, 'ConfigMap').find(
    ({ metadata }) => metadata?.name === volume?.configMap?.name,
  );
  if (map) return Object.keys(map.data ?? {});
  return volume?.projected?.sources?.flatMap(({ secret, configMap, serviceAccountToken }) =>
    [...(secret?.items ?? []), ...(configMap?.items ?? []), serviceAccountToken ?? []].flatMap(
      (each) => ('path' in each ? each.path : []),
    ),
  );
}
