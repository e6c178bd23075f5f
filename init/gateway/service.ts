/** The gateway as a service of the init that stays. */
import type { InitConfig } from '../config.ts';
import { proposalsBranch } from '../proposals/settings.ts';
import type { Service } from '../sync/service.ts';
import { startGateway } from './gateway.ts';
import type { GatewayConfig } from './gateway-settings.ts';

/** @param config BERTH_GATEWAY_REPOS and its kin, as they were at the start */
export function gatewayService(config: GatewayConfig): Service {
  return {
    name: 'gateway',
    async start({ config: read, log, registry }) {
      const { repository, ref, githubApiUrl, tokenPlace } = read();
      return startGateway({
        config,
        home: { origin: new URL(repository.url).origin, path: repository.path },
        reserved: ref === undefined ? [proposalsBranch] : [proposalsBranch, branchNameOf(ref)],
        login: () => loginOf(read()),
        ...{ githubApiUrl, tokenPlace, registry, log },
      });
    },
  };
}

function loginOf({ username, token, githubApp: app }: InitConfig) {
  return { username, token, app };
}

/** BERTH_REF may be a full ref. */
function branchNameOf(ref: string): string {
  return ref.replace(/^refs\/heads\//, '');
}
