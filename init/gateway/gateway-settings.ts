/** The settings of the gateway, a part of the init that stays. */
import { setting } from '../../shared/config.ts';
import { duration, integer, type Listen, listen, size } from '../../shared/setting-types.ts';
import { branchPatterns } from './branches.ts';
import { type RepositoryPattern, repositoryPatterns } from './repository-pattern.ts';

export const gatewayDefinitions = {
  gatewayRepositories: setting({
    name: 'BERTH_GATEWAY_REPOS',
    schema: repositoryPatterns,
    optional: true,
    description:
      'Repositories that tools may fetch through the gateway, without a token: `you/*`, `org/app`, and `host/owner/name` for another server (there without a login). Set together with BERTH_SYNC_INTERVAL, it starts the gateway.',
  }),
  gatewayPush: setting({
    name: 'BERTH_GATEWAY_PUSH',
    schema: repositoryPatterns,
    optional: true,
    description:
      'Repositories that tools may also push to, and open pull requests for. Only branches of BERTH_GATEWAY_BRANCHES, never the default branch, never with force, and no branch can be deleted.',
  }),
  gatewayBranches: setting({
    name: 'BERTH_GATEWAY_BRANCHES',
    schema: branchPatterns,
    default: 'berth/*',
    description: 'The branches that may be pushed, separated by commas; `*` matches any text.',
  }),
  gatewayListen: setting({
    name: 'BERTH_GATEWAY_LISTEN',
    schema: listen.refine(({ host }) => isLoopback(host), {
      error: 'an address of this pod alone, such as 127.0.0.1:9418',
    }),
    default: '127.0.0.1:9418',
    description:
      'The address of the gateway. Only addresses of the loopback interface are allowed.',
  }),
  gatewayFetchBytes: setting({
    name: 'BERTH_GATEWAY_MAX_FETCH_BYTES',
    schema: size(1024, 2 ** 40),
    default: '4Gi',
    description: 'The maximum size of one fetch through the gateway.',
  }),
  gatewayPushBytes: setting({
    name: 'BERTH_GATEWAY_MAX_PUSH_BYTES',
    schema: size(1024, 2 ** 40),
    default: '100Mi',
    description: 'The maximum size of one push through the gateway.',
  }),
  gatewayTransfers: setting({
    name: 'BERTH_GATEWAY_TRANSFERS',
    schema: integer(1, 1_000),
    default: '8',
    description: 'How many requests the gateway sends to git servers at a time. Others wait.',
  }),
  gatewayTimeout: setting({
    name: 'BERTH_GATEWAY_TIMEOUT',
    schema: duration(1_000, 24 * 3_600_000),
    default: '15m',
    description: 'The deadline of one fetch or push through the gateway.',
  }),
};

export interface GatewayConfig {
  listen: Listen;
  /** Repositories that may be fetched; those that may be pushed are among them. */
  fetch: readonly RepositoryPattern[];
  push: readonly RepositoryPattern[];
  /** Patterns of branches that may be pushed. */
  branches: readonly string[];
  fetchBytes: number;
  pushBytes: number;
  /** The number of requests at a time. */
  transfers: number;
  /** Milliseconds. */
  timeout: number;
}

interface GatewaySettings {
  gatewayRepositories: RepositoryPattern[] | undefined;
  gatewayPush: RepositoryPattern[] | undefined;
  gatewayBranches: string[];
  gatewayListen: Listen;
  gatewayFetchBytes: number;
  gatewayPushBytes: number;
  gatewayTransfers: number;
  gatewayTimeout: number;
}

/** Undefined if no repository is allowed. */
export function gatewayOf(settings: GatewaySettings): GatewayConfig | undefined {
  const { gatewayRepositories, gatewayPush: push = [] } = settings;
  if (!gatewayRepositories && push.length === 0) return undefined;
  return {
    listen: settings.gatewayListen,
    fetch: [...(gatewayRepositories ?? []), ...push],
    push,
    branches: settings.gatewayBranches,
    fetchBytes: settings.gatewayFetchBytes,
    pushBytes: settings.gatewayPushBytes,
    transfers: settings.gatewayTransfers,
    timeout: settings.gatewayTimeout,
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
