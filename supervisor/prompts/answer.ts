/** Makes the answer or the error of a prompt from the end of its turn; counts and records the turn. */
import { asBerthError, type BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ApprovalReport } from '../approvals/prompt-approvals.ts';
import { queryServers } from '../claude/mcp-servers.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import { type CliProblems, healthWarnings } from '../health/cli-problems.ts';
import type { Worker } from '../pool/worker.ts';
import { hiddenTools, warningsOf } from '../profiles/warnings.ts';
import { runningWarning, takeReports } from '../sessions/background-reports.ts';
import type { RecordKeeper } from '../sessions/record-keeper.ts';
import type { BackgroundReport } from '../sessions/session-record.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { WorkspaceOutcome } from '../workspaces/turn-end.ts';
import { isKept } from './kept-turn.ts';
import type { LimitGate } from './limit-gate.ts';
import type { LivePrompt } from './live-prompts.ts';
import type { Logins, LoginUse } from './login-use.ts';
import type { LossReason } from './lost-turn.ts';
import type { TurnMeters } from './meters.ts';
import { commandFailure, failureOf, isLoginFailure, withTurn } from './outcome.ts';
import { costUnseen, type PromptCost } from './prompt-cost.ts';
import { allowedCommand, type SentTurn, unknownCommand } from './send-prompt.ts';
import type { TurnEnd } from './turn.ts';

export interface Answer {
  id: string;
  session_id: string;
  profile: string;
  /** The commit of the configuration that the process has; absent if it is unknown. */
  config_commit?: string;
  result: string;
  /** The output that matches `output_schema`; absent without a schema. */
  structured_output?: unknown;
  /** Always false: a failure is an error with a code. */
  is_error: boolean;
  stop_reason: string | null;
  usage: TurnResult['usage'];
  cost_usd: number;
  num_turns: number;
  /** From acceptance to the answer. */
  duration_ms: number;
  queued_ms: number;
  ttft_ms: number | null;
  /** The denied tool calls, without their input. */
  permission_denials: { tool_name: string; tool_use_id: string }[];
  warnings: string[];
  /** Reports of background work since the last answer; absent if there is none. */
  background?: BackgroundReport[];
  /** The checkout of the session; absent without one. */
  workspace?: WorkspaceOutcome;
  /** The approvals of the turn; absent if there is none. */
  approvals?: ApprovalReport[];
  /** How often the turn was carried on in a new process, and why. */
  recycled: number;
  recycle_reason: LossReason | null;
}

export interface ConcludeOptions {
  store: SessionStore;
  /** Where the CLI keeps the conversation of a session; undefined if there is no such file. */
  transcripts: { find: (sessionId: string) => Promise<string | undefined> };
  /** `mayLose`: whether the volume may be so full that the CLI cannot write a turn down. */
  disk: { readonly mayLose: boolean };
  gate: Pick<LimitGate, 'warningsOf'>;
  logins: Pick<Logins, 'keyOf'>;
  cliProblems: Pick<CliProblems, 'note'>;
  meters: TurnMeters;
  log: Log;
}

export interface Conclusion {
  live: LivePrompt;
  worker: Worker;
  use: LoginUse | undefined;
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
  await keeper.end(end.result);
  if (process.health.unexplained) await queryServers(process);
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
  const reports = takeReports(options.store, end.result.sessionId);
  const { configCommit } = process;
  return {
    ...toAnswer(live, whole, warnings, reports),
    ...(configCommit === undefined ? {} : { config_commit: configCommit }),
  };
}

function explained(failure: BerthError, use: LoginUse | undefined): BerthError {
  return use && isLoginFailure(failure) ? use.explain(failure) : failure;
}

/** Warns if the prompt begins with an allowed command that the worker does not have. */
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
  return [`${text}; after a restart the session will not have it`];
}

function toAnswer(
  live: LivePrompt,
  { result, toolErrors }: TurnEnd,
  warnings: readonly string[],
  background: BackgroundReport[] = [],
): Answer {
  const { profile, overrides } = live.prompt;
  return {
    id: live.id,
    session_id: result.sessionId,
    profile: profile.name,
    result: result.result,
    ...(result.structuredOutput === undefined
      ? {}
      : { structured_output: result.structuredOutput }),
    is_error: result.isError,
    stop_reason: result.stopReason,
    usage: result.usage,
    cost_usd: result.costUsd,
    num_turns: result.numTurns,
    duration_ms: Math.round(performance.now() - live.acceptedAt),
    queued_ms: Math.round(live.queuedMs),
    ttft_ms: result.ttftMs ?? null,
    permission_denials: result.permissionDenials.map(({ tool_name, tool_use_id }) => ({
      tool_name,
      tool_use_id,
    })),
    warnings: [
      ...warningsOf(result.permissionDenials, profile),
      ...hiddenTools(toolErrors, profile, overrides.allowedTools),
      ...warnings,
    ],
    ...(background.length > 0 ? { background } : {}),
    recycled: live.recycled,
    recycle_reason: live.recycleReason,
  };
}
