/** Creates the part that makes and publishes checkouts of repositories. */
import { join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createSlots } from '../../shared/slots.ts';
import { gitIn } from '../claude/git.ts';
import type { SupervisorConfig } from '../config.ts';
import type { Metrics } from '../metrics/counters.ts';
import type { DiskWatch } from '../sessions/disk.ts';
import { Checkouts } from '../workspaces/checkouts.ts';
import { GatewayClient } from '../workspaces/gateway-client.ts';
import { Mirrors } from '../workspaces/mirrors.ts';
import { SpareTrees } from '../workspaces/spare-trees.ts';

/** Checkouts that are made at a time. */
const most = 4;

/** @param metrics is called later than this function */
export function createCheckouts(
  config: SupervisorConfig,
  log: Log,
  disk: Pick<DiskWatch, 'level'>,
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
  // A prompt that gets a worker at once is not refused.
  const mostWaiting = config.queueLimit + config.maxWorkers;
  const slots = createSlots(most, mostWaiting, config.checkoutTimeout, busy);
  const hasRoom = () => disk.level === 'ok';
  const trees = new SpareTrees({ git, most: config.spareCheckouts, hasRoom, log });
  return new Checkouts({
    ...{ git, gateway, mirrors, slots, trees, log },
    staging: join(config.workspaceDirectory, 'staging'),
    onCheckout: (outcome) => metrics().checkout(outcome),
    onPublish: (outcome) => metrics().published(outcome),
  });
}

function busy(): BerthError {
  return new BerthError(
    'queue_full',
    'cannot accept the prompt: too many prompts wait for a checkout; try again later, or raise BERTH_QUEUE_LIMIT',
  );
}
