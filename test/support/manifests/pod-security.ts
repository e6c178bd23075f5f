/**
 * The Pod Security Standards of Kubernetes (v1.32), baseline and restricted, for Linux pods: what the
 * admission controller would refuse.
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import { containersOf } from '../manifests.ts';

const baselineCapabilities = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];
const safeSysctls = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ping_group_range',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_wmem',
];
const selinuxTypes = [
  '',
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
];
const restrictedVolumes = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret',
];

/** One sentence for each rule that the pod breaks. */
export function podSecurityProblems(pod: IPodSpec, level: 'baseline' | 'restricted'): string[] {
  const problems = [...baselinePod(pod), ...containersOf(pod).flatMap(baselineContainer)];
  if (level === 'baseline') return problems;
  const restricted = containersOf(pod).flatMap((each) => restrictedContainer(pod, each));
  return [...problems, ...restrictedPod(pod), ...restricted];
}

function baselinePod(pod: IPodSpec): string[] {
  const { securityContext: context, volumes = [] } = pod;
  return [
    ...(['hostNetwork', 'hostPID', 'hostIPC'] as const).filter((name) => pod[name]),
    ...volumes.filter(({ hostPath }) => hostPath).map(({ name }) => `hostPath volume ${name}`),
    ...(context?.sysctls ?? [])
      .filter(({ name }) => !safeSysctls.includes(name))
      .map(({ name }) => `sysctl ${name}`),
    ...profiles('the pod', context),
  ];
}

function baselineContainer({ name, ports = [], securityContext: context }: IContainer): string[] {
  const added = context?.capabilities?.add ?? [];
  return [
    ...(context?.privileged ? [`${name} is privileged`] : []),
    ...(context?.procMount && context.procMount !== 'Default' ? [`${name} has procMount`] : []),
    ...added
      .filter((capability) => !baselineCapabilities.includes(capability))
      .map((capability) => `${name} adds ${capability}`),
    ...ports.filter(({ hostPort }) => hostPort).map(({ hostPort }) => `host port ${hostPort}`),
    ...profiles(name, context),
  ];
}

type Context = Pick<
  NonNullable<IContainer['securityContext']>,
  'appArmorProfile' | 'seLinuxOptions' | 'seccompProfile' | 'windowsOptions'
>;

function profiles(whose: string, context: Context | undefined): string[] {
  const { user, role, type = '' } = context?.seLinuxOptions ?? {};
  return [
    ...(context?.windowsOptions?.hostProcess ? [`${whose} is a host process`] : []),
    ...(context?.appArmorProfile?.type === 'Unconfined' ? [`${whose} has no AppArmor`] : []),
    ...(context?.seccompProfile?.type === 'Unconfined' ? [`${whose} has no seccomp`] : []),
    ...(user || role || !selinuxTypes.includes(type) ? [`${whose} sets SELinux options`] : []),
  ];
}

function restrictedPod({ volumes = [], securityContext }: IPodSpec): string[] {
  return [
    ...volumes
      .filter((volume) =>
        Object.keys(volume).some((key) => key !== 'name' && !restrictedVolumes.includes(key)),
      )
      .map(({ name }) => `volume ${name} is of another type`),
    ...(securityContext?.runAsUser === 0 ? ['the pod runs as root'] : []),
    ...(securityContext?.runAsNonRoot === false ? ['the pod may run as root'] : []),
  ];
}

function restrictedContainer({ securityContext: whole }: IPodSpec, container: IContainer) {
  const { name, securityContext: own } = container;
  const { drop = [], add = [] } = own?.capabilities ?? {};
  const nonRoot = own?.runAsNonRoot ?? whole?.runAsNonRoot;
  const seccomp = (own?.seccompProfile ?? whole?.seccompProfile)?.type ?? '';
  return [
    ...(own?.allowPrivilegeEscalation === false ? [] : [`${name} may gain privileges`]),
    ...(nonRoot === true ? [] : [`${name} may run as root`]),
    ...(own?.runAsUser === 0 ? [`${name} runs as root`] : []),
    ...(['RuntimeDefault', 'Localhost'].includes(seccomp) ? [] : [`${name} has no seccomp`]),
    ...(drop.includes('ALL') ? [] : [`${name} keeps capabilities`]),
    ...add
      .filter((capability) => capability !== 'NET_BIND_SERVICE')
      .map((capability) => `${name} adds ${capability}`),
  ];
}
