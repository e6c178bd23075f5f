/** Turns the end of a turn into the answer or the error of its prompt, and counts and records the turn. */
import { asBerthError, type BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { askServers } from '../claude/mcp-servers.ts';
import type { Worker } from '../pool/worker.ts';
import { runningWarning, takeReports } from '../sessions/background-reports.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import { type Answer, toAnswer } from './answer.ts';
import { type CliProblems, healthWarnings } from './cli-problems.ts';
import { allowedCommand, commandFailure, unknownCommand } from './command.ts';
import { isKept } from './kept-turn.ts';
import type { LimitGate } from './limit-gate.ts';
import type { LivePrompt } from './live-prompt.ts';
import type { Logins, LoginUse } from './login-use.ts';
import type { PromptMeters } from './meters.ts';
import { failureOf, isLoginFailure, withTurn } from './outcome.ts';
import { costUnseen, type PromptCost } from './prompt-cost.ts';
import type { RecordKeeper } from './record-keeper.ts';
import type { SentTurn } from './send-prompt.ts';

export interface ConcludeOptions {
  store: SessionStore;
  /** Where the CLI keeps the conversation of a session; undefined if there is no such file. */
  transcripts: { find: (sessionId: string) => Promise<string | undefined> };
  /** `mayLose`: whether the volume may be so full that the CLI cannot write a turn down. */
  disk: { readonly mayLose: boolean };
  gate: Pick<LimitGate, 'warningsOf'>;
  logins: Pick<Logins, 'keyOf'>;
  cliProblems: Pick<CliProblems, 'note'>;
  meters: PromptMeters;
  log: Log;
}

export interface Conclusion {
  live: LivePrompt;
  worker: Worker;
  use: LoginUse;
  turn: SentTurn;
  cost: PromptCost;
  keeper: RecordKeeper;
}

/** @throws BerthError what the prompt ends with, if the turn has no answer */
export async function concludeTurn(
  options: ConcludeOptions,
  { live, worker, use, turn, cost, keeper }: Conclusion,
): Promise<Answer> {
  const { overrides, profile } = live.prompt;
  const { process } = worker;
  const end = cost.ended(turn.end);
  await keeper.end(end);
  if (process.health.unexplained) await askServers(process);
  options.cliProblems.note(profile.name, process.health.reports);
  const whole = cost.whole(end);
  if (live.signal.aborted) throw withTurn(asBerthError(live.signal.reason), whole);
  const failure =
    (turn.command === undefined ? undefined : commandFailure(turn.command, profile, end)) ??
    failureOf(whole, overrides.outputSchema !== undefined);
  if (failure) throw explained(failure, use);
  const warnings = [
    ...commandWarnings(live, worker),
    ...(end.result.costSeen ? [] : [costUnseen]),
    ...healthWarnings(process.health.reports, profile),
    ...keeper.warnings,
    ...(await unkeptWarnings(options, turn)),
    ...options.gate.warningsOf(options.logins.keyOf(live.prompt)),
    ...runningWarning(process.background, profile.limits.background),
  ];
  return toAnswer(live, whole, warnings, takeReports(options.store, end.result.sessionId));
}

function explained(failure: BerthError, use: LoginUse): BerthError {
  return isLoginFailure(failure) ? use.explain(failure) : failure;
}

/** The prompt begins with a command that is allowed and that the worker does not have. */
function commandWarnings({ prompt }: LivePrompt, { process }: Worker): string[] {
  const name = allowedCommand(prompt.text, prompt.profile);
  return name === undefined || process.ownCommands.has(name) ? [] : [unknownCommand(name)];
}

/** The volume is full, and the CLI has not written the turn down. */
async function unkeptWarnings(
  { disk, transcripts, meters, log }: ConcludeOptions,
  { end, promptId }: SentTurn,
): Promise<string[]> {
  const { sessionId } = end.result;
  if (!disk.mayLose || (await isKept(await transcripts.find(sessionId), promptId))) return [];
  meters.unkept();
  const text = "this turn is not in the session's transcript: the volume is full";
  log.error('turn_unkept', text, { session_id: sessionId });
  return [`${text}; the session will not know it after a restart`];
}
