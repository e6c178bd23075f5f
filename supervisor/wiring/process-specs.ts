/**
 * Builds the specification of the process that a prompt needs: profile, overrides of the request, session.
 * Invariant: each prompt gets a new specification, from the profile as it is now.
 */
import { randomUUID } from 'node:crypto';
import type { Log } from '../../shared/log.ts';
import { cliArguments } from '../claude/command.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { ClaudeProcess } from '../claude/process.ts';
import { sessionEndTime } from '../claude/session-end.ts';
import { timeoutsOf } from '../claude/timeouts.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { SupervisorConfig } from '../config.ts';
import type { ConfigurationGuard } from '../configuration/guard.ts';
import { offerToKernel } from '../memory/oom-score.ts';
import type { ProcessSpec, WarmTarget } from '../pool/process-spec.ts';
import { keyOf, launchOf } from '../profiles/launch.ts';
import type { Overrides } from '../profiles/overrides.ts';
import type { Profile } from '../profiles/profile.ts';
import type { Prompt } from '../prompts/prompt.ts';
import { cleanupPeriodDays } from '../sessions/retention.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { WorkingDirectory, Workspaces } from '../sessions/workspaces.ts';

export interface ProcessSpecsOptions {
  config: SupervisorConfig;
  claudePath: () => string;
  profiles: { all: () => readonly Profile[] };
  workspaces: Workspaces;
  store: SessionStore;
  log: Log;
  /** `assertRight` throws if executable configuration was changed; `mayHaveHooks`: whether hooks may run. */
  configuration: Pick<ConfigurationGuard, 'assertRight' | 'mayHaveHooks'>;
  /** Called with the result of each turn without a prompt. */
  onUnprompted: (profile: string, turn: TurnResult) => void;
  /** Called with what the API reports about the account in such a turn. */
  onLimit: (profile: Profile, limit: UsageLimit) => void;
}

/** The part of a prompt that the process depends on. */
interface Asked {
  overrides: Overrides;
  /** The trace context of the prompt; a spare has none. */
  traceparent?: string | undefined;
}

interface Session {
  resume: string;
  fork: boolean;
  /** The directory of the session; a fork gets a new one. */
  directory: WorkingDirectory | undefined;
}

export class ProcessSpecs {
  readonly #options: ProcessSpecsOptions;
  /** The key of the processes of a profile without overrides. */
  readonly #plain = new WeakMap<Profile, string>();
  #forks = 0;

  constructor(options: ProcessSpecsOptions) {
    this.#options = options;
  }

  /** @param resume the session whose process was lost in the middle of this prompt */
  of({ profile, overrides, traceparent, record, fork }: Prompt, resume?: string): ProcessSpec {
    const asked = { overrides, traceparent };
    if (resume !== undefined) {
      const directory = this.#options.store.peek(resume)?.working_directory;
      return this.#spec(profile, asked, { resume, fork: false, directory });
    }
    if (!record) return this.#spec(profile, asked, undefined);
    const directory = fork ? undefined : record.working_directory;
    return this.#spec(profile, asked, { resume: record.id, fork, directory });
  }

  /** The spares that are wanted. */
  warm(): WarmTarget[] {
    return this.#options.profiles
      .all()
      .filter(({ warm }) => warm > 0)
      .map((profile) => ({
        spec: this.#spec(profile, { overrides: {} }, undefined),
        count: profile.warm,
      }));
  }

  #spec(profile: Profile, asked: Asked, session: Session | undefined): ProcessSpec {
    const { overrides } = asked;
    const key = keyOf(profile, overrides);
    const isFork = session?.fork === true;
    return {
      profile: profile.name,
      // No other prompt may use the process of a fork.
      key: isFork ? `${key}:fork-${++this.#forks}` : key,
      sessionId: isFork ? undefined : session?.resume,
      resumes: session !== undefined,
      // The CLI counts the budget over the life of its process.
      own: isFork || key !== this.#plainKey(profile),
      once: (overrides.maxBudgetUsd ?? profile.limits.maxBudgetUsd) !== undefined,
      background: profile.limits.background,
      launch: (name) => this.#launch(name, profile, asked, session),
    };
  }

  #plainKey(profile: Profile): string {
    const key = this.#plain.get(profile) ?? keyOf(profile);
    this.#plain.set(profile, key);
    return key;
  }

  #launch(
    name: string,
    profile: Profile,
    { overrides, traceparent }: Asked,
    session: Session | undefined,
  ): ClaudeProcess {
    const { config, claudePath, configuration, workspaces, log, onUnprompted, onLimit } =
      this.#options;
    configuration.assertRight();
    const { options, environment } = launchOf(profile, overrides, config.configDirectory);
    const directory = workspaces.make(name, profile.workingDirectory, session?.directory);
    const whole = cliEnvironment(config.inherited, config.configDirectory, name, {
      ...environment,
      ...(traceparent === undefined ? {} : { TRACEPARENT: traceparent }),
    });
    const kept = session && !session.fork ? session.resume : undefined;
    const sessionId = kept ?? randomUUID();
    const process = new ClaudeProcess({
      path: claudePath(),
      arguments: cliArguments({
        ...options,
        resume: session?.resume,
        fork: session?.fork ?? false,
        sessionId: kept === undefined ? sessionId : undefined,
        noHooks: !configuration.mayHaveHooks,
        cleanupPeriodDays: cleanupPeriodDays(config.sessionRetention),
      }),
      environment: whole,
      timeouts: timeoutsOf(whole, options.mcpServers),
      sessionEnd: sessionEndTime(config.configDirectory, whole),
      workingDirectory: directory.path,
      sessionId,
      onForeignSession: (claimed) =>
        log.error('session_claimed', `${name} claimed a session that is not its own: it is ended`, {
          worker: name,
          session_id: sessionId,
          claimed,
        }),
      deniesWakeUps: profile.unprompted === 'deny',
      onLimit: (limit) => onLimit(profile, limit),
      onUnprompted: (turn) => onUnprompted(profile.name, turn),
      onStray: (what) => log.warn('worker_stray_output', `${name} wrote ${what}`, { worker: name }),
    });
    if (process.pid !== undefined) offerToKernel(process.pid);
    return process;
  }
}
