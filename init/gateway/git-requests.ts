/**
 * One request of a git client: is the repository allowed, what is it for, and how does git learn of a
 * failure.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { serveFetch } from './fetch.ts';
import type { GatewayConfig } from './gateway-settings.ts';
import { refuseFetch, refuseText } from './git-answers.ts';
import type { GatewayMetrics, Operation } from './metrics.ts';
import { servePush } from './push.ts';
import { serveRefs } from './refs.ts';
import { isListed, type Place, urlOf } from './repository-pattern.ts';
import type { Route } from './routes.ts';
import { ClientGone, isRefusal } from './transfer.ts';
import type { Upstream } from './upstream.ts';

export interface Common {
  config: GatewayConfig;
  /** The repository of BERTH_REPO. */
  home: Place;
  /** Branches of that repository that berth itself uses. */
  reserved: readonly string[];
  upstream: Upstream;
  metrics: GatewayMetrics;
  request: IncomingMessage;
  response: ServerResponse;
  log: Log;
  signal: AbortSignal;
}

/** @throws the failure, for the log */
export async function serveGit(
  { place, service, isDiscovery }: Route & { kind: 'git' },
  common: Common,
): Promise<void> {
  const { config, response, metrics } = common;
  const log = common.log.child({ repository: urlOf(place) });
  const isPush = service === 'git-receive-pack';
  const operation: Operation = isDiscovery ? 'refs' : isPush ? 'push' : 'fetch';
  const refusal = notAllowed(place, isPush, common);
  if (refusal !== undefined) {
    log.warn('gateway_refused', refusal);
    metrics.request(operation, 'refused');
    return refuseText(response, 403, refusal);
  }
  const rules = { patterns: config.branches, reserved: reservedIn(place, common) };
  const transfer = { ...common, log, place, rules };
  try {
    let outcome: 'served' | 'refused' = 'served';
    if (isDiscovery) await serveRefs(transfer, service);
    else if (isPush) outcome = await servePush(transfer);
    else await serveFetch(transfer);
    metrics.request(operation, outcome);
  } catch (error) {
    if (!(common.signal.reason instanceof ClientGone)) {
      metrics.request(operation, isRefusal(error) ? 'refused' : 'failed');
    }
    // git shows the text of a refusal only here, and for a push in its report (push.ts).
    if (operation === 'fetch' && !response.headersSent && error instanceof BerthError) {
      refuseFetch(response, asBerthError(error).message);
    }
    throw error;
  }
}

/** The reason why the repository may not be used so; undefined if it may. */
export function notAllowed(
  place: Place,
  isPush: boolean,
  { config, home }: Pick<Common, 'config' | 'home'>,
): string | undefined {
  const [list, setting] = isPush
    ? [config.push, 'BERTH_GATEWAY_PUSH']
    : [config.fetch, 'BERTH_GATEWAY_REPOS'];
  if (isListed(place, list, home.origin)) return undefined;
  const verb = isPush ? 'push to' : 'read';
  return `cannot ${verb} ${urlOf(place)}: ${setting} does not list it (names are compared letter by letter); use a repository of the list, or let the operator add this one`;
}

/** The branches that berth itself uses, if this is its repository. GitHub ignores the case of names. */
export function reservedIn(place: Place, { home, reserved }: Pick<Common, 'home' | 'reserved'>) {
  const isHome = urlOf(place).toLowerCase() === urlOf(home).toLowerCase();
  return isHome ? reserved : [];
}
