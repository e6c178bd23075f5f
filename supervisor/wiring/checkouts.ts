/** Creates the part that makes and publishes checkouts of repositories. */
import { join } from 'node:path';
import type { Log } from '../../shared/log.ts';
import { gitIn } from '../claude/git.ts';
import type { SupervisorConfig } from '../config.ts';
import type { Metrics } from '../metrics/counters.ts';
import { Checkouts } from '../workspaces/checkouts.ts';
import { GatewayClient } from '../workspaces/gateway-client.ts';
import { Mirrors } from '../workspaces/mirrors.ts';

/** @param metrics is called later than this function */
export function createCheckouts(
  config: SupervisorConfig,
  log: Log,
  metrics: () => Pick<Metrics, 'checkout' | 'published' | 'mirrorRemoved'>,
): Checkouts {
  const git = gitIn(config.inherited.PATH);
  const gateway = new GatewayClient(config.gatewayUrl);
  const mirrors = new Mirrors({
    root: join(config.workspaceDirectory, 'mirrors'),
    ...{ git, gateway, log },
    most: config.mirrors,
    mostBytes: config.mirrorsSize,
    timeout: config.checkoutTimeout,
    onRemoved: (reason) => metrics().mirrorRemoved(reason),
  });
  return new Checkouts({
    ...{ git, gateway, mirrors, log },
    staging: join(config.workspaceDirectory, 'staging'),
    onCheckout: (outcome) => metrics().checkout(outcome),
    onPublish: (outcome) => metrics().published(outcome),
  });
}
