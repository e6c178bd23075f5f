/**
 * Counts a turn that the CLI has run without a prompt: for its session, the budgets and the metrics; and keeps
 * its report for the next answer of the session.
 */
import type { Log } from '../../shared/log.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import { keepReport } from '../sessions/background-reports.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { TurnMeters } from './meters.ts';
import { costUnseen, type Rates } from './prompt-cost.ts';

export interface UnpromptedTurnOptions {
  store: Pick<SessionStore, 'spend' | 'peek' | 'note'>;
  rates: Pick<Rates, 'priced'>;
  meters: Pick<TurnMeters, 'costUnseen'> & {
    /** @param owner the name of the token of the session, if it is known */
    spentBy: (owner: string | undefined, profile: string, turn: TurnResult) => void;
  };
  log: Log;
}

export function countUnprompted(
  { store, rates, meters, log }: UnpromptedTurnOptions,
  profile: string,
  reported: TurnResult,
): void {
  // The model of such a turn is not known.
  const turn = rates.priced('', reported);
  const { sessionId, costUsd, costSeen, usage } = turn;
  if (!costSeen) {
    log.error('cost_unseen', costUnseen, { session_id: sessionId, cost_usd: costUsd });
    meters.costUnseen(profile);
  }
  store.spend(sessionId, costUsd, usage);
  meters.spentBy(store.peek(sessionId)?.token, profile, turn);
  keepReport(store, turn);
}
