/**
 * Builds the specification of the process that a prompt needs: profile, overrides of the request, session.
 * Invariant: each prompt gets a new specification, from the profile as it is now.
 */
import { createHash, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Log } from '../../shared/log.ts';
import { lowerPriority } from '../claude/cpu-priority.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { cliArguments } from '../claude/flags.ts';
import { bindSpare, type LateOptions, SpareTooLate } from '../claude/late-options.ts';
import { ClaudeProcess } from '../claude/process.ts';
import { sessionEndTime } from '../claude/session-end.ts';
import { timeoutsOf } from '../claude/timeouts.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { SupervisorConfig } from '../config.ts';
import type { ConfigurationGuard } from '../configuration/guard.ts';
import { offerToKernel } from '../memory/oom-score.ts';
import type { ProcessSpec, SpareUse, WarmTarget } from '../pool/process-spec.ts';
import {
  keyOf,
  type Launch,
  lateOptionsOf,
  launchOf,
  sharedKeyOf,
  sharedLaunchOf,
} from '../profiles/launch.ts';
import type { Overrides } from '../profiles/overrides.ts';
import type { Overridable, Profile } from '../profiles/profile.ts';
import type { Prompt } from '../prompts/prompt.ts';
import { cleanupPeriodDays } from '../sessions/retention.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { WorkingDirectory, Workspaces } from '../sessions/workspaces.ts';

export interface ProcessSpecsOptions {
  config: SupervisorConfig;
  claudePath: () => string;
  /** Whether this CLI was seen to learn its options late; undefined before its self-test. */
  learnsLate: () => boolean | undefined;
  profiles: { all: () => readonly Profile[] };
  /** The commit of the configuration on the volume; a process of another commit is out of date. */
  commit: () => string | undefined;
  workspaces: Workspaces;
  store: SessionStore;
  log: Log;
  /** `assertRight` throws if executable configuration was changed; `mayHaveHooks`: whether hooks may run. */
  configuration: Pick<ConfigurationGuard, 'assertRight' | 'mayHaveHooks'>;
  /** Called with the result of each turn without a prompt. */
  onUnprompted: (profile: string, turn: TurnResult) => void;
  /** Called with what the API reports about the account in such a turn. `replaced`: as `replacementSignal` returned it. */
  onLimit: (profile: Profile, limit: UsageLimit, replaced: AbortSignal) => void;
  /** Aborted when the account that the profile uses now is replaced. */
  replacementSignal: (profile: Profile) => AbortSignal;
  /** Whether a running process of the profile uses a new account, because the CLI reads the login file again. */
  readsLoginAgain: (profile: Profile) => boolean;
}

/** The part of a prompt that the process depends on. */
interface Asked {
  overrides: Overrides;
  /** The trace context of the prompt; a spare has none. */
  traceparent?: string | undefined;
}

/** What a request can set that a shared spare learns late. */
const lateOverrides = new Set<Overridable>([
  'model',
  'append_system_prompt',
  'allowed_tools',
  'output_schema',
]);

/** Whose process it is: a shared spare gets another profile with its prompt. */
interface Owner {
  profile: Profile;
  /**
   * Of the account whose login the process has had from its start, or since it was bound to the prompt. If the process
   * reads its login again: of the account at the begin of its last turn without a prompt.
   */
  replaced: AbortSignal;
}

interface Session {
  resume: string;
  fork: boolean;
  /** The last message that a fork copies; absent: all. */
  forkAt?: string | undefined;
  /** The directory of the session; a fork gets a new one. */
  directory: WorkingDirectory | undefined;
}

export class ProcessSpecs {
  readonly #options: ProcessSpecsOptions;
  readonly #owners = new WeakMap<ClaudeProcess, Owner>();
  /** Options that a shared spare has refused. A new model or a corrected file may make them usable. */
  readonly #refused = new LRUCache<string, true>({ max: 100, ttl: 600_000 });
  #forks = 0;

  constructor(options: ProcessSpecsOptions) {
    this.#options = options;
  }

  /** @param resume the session whose process was lost in the middle of this prompt */
  of(
    { profile, overrides, traceparent, record, fork, forkAt }: Prompt,
    resume?: string,
  ): ProcessSpec {
    const asked = { overrides, traceparent };
    if (resume !== undefined) {
      const directory = this.#options.store.peek(resume)?.working_directory;
      return this.#spec(profile, asked, { resume, fork: false, directory });
    }
    if (!record) {
      return {
        ...this.#spec(profile, asked, undefined),
        spare: this.#spareFor(profile, overrides),
      };
    }
    const directory = fork ? undefined : record.working_directory;
    return this.#spec(profile, asked, { resume: record.id, fork, forkAt, directory });
  }

  /**
   * The spares that are wanted. Profiles that differ only in what a spare learns late share their spares. A
   * profile that shares with no other one keeps processes of its own, whose first turn is some 50 ms faster; beside
   * them, shared spares for prompts with overrides are kept while there is room.
   */
  warm(): WarmTarget[] {
    const { profiles, learnsLate, config } = this.#options;
    const wanted = profiles.all().filter(({ warm }) => warm > 0);
    const own = (profile: Profile): WarmTarget => ({
      spec: this.#spec(profile, { overrides: {} }, undefined),
      count: profile.warm,
    });
    const late = learnsLate();
    if (late === false) return wanted.map(own);
    const groups = Map.groupBy(wanted, sharedKeyOf);
    const targets = [...groups.values()].flatMap((group): WarmTarget[] => {
      const [first, ...others] = group;
      if (!first) return [];
      if (others.length === 0) return [own(first)];
      // Before the self-test has ended they are started and not used.
      const count = Math.max(...group.map(({ warm }) => warm));
      return [{ spec: this.#sharedSpec(first), count }];
    });
    if (late === undefined) return targets;
    const optional = [...groups.values()]
      .flatMap((group) => (group.length === 1 ? group : []))
      .filter(({ overrides }) => overrides.some((field) => lateOverrides.has(field)))
      .slice(0, config.sharedSpares)
      .map((profile) => ({ spec: this.#sharedSpec(profile), count: 1, optional: true }));
    return [...targets, ...optional];
  }

  #sharedSpec(profile: Profile): ProcessSpec {
    return {
      ...this.#spec(profile, { overrides: {} }, undefined),
      key: this.#dated(sharedKeyOf(profile)),
      shared: true,
      launch: (name) => {
        const launch = sharedLaunchOf(profile, this.#options.config.configDirectory);
        return this.#launch(name, profile, launch, {}, undefined);
      },
    };
  }

  /** What shared spares can do for a prompt that begins a session. */
  #spareFor(profile: Profile, overrides: Overrides): SpareUse | undefined {
    const late = this.#options.learnsLate() ? lateOptionsOf(profile, overrides) : undefined;
    if (!late) return undefined;
    if (this.#refused.size > 0 && this.#refused.has(digestOfLate(late))) return undefined;
    return {
      key: this.#dated(sharedKeyOf(profile)),
      bind: (process) => this.#bind(process, profile, late),
    };
  }

  async #bind(process: ClaudeProcess, profile: Profile, late: LateOptions): Promise<void> {
    const owner = this.#owners.get(process);
    if (owner) {
      // The limits of an account are noted by profile.
      Object.assign(owner, { profile, replaced: this.#options.replacementSignal(profile) });
    }
    try {
      await bindSpare(process, late);
    } catch (error) {
      // Other spares would refuse the same options, if this one did not just end or reply too late.
      if (process.alive && !(error instanceof SpareTooLate))
        this.#refused.set(digestOfLate(late), true);
      throw error;
    }
  }

  #spec(profile: Profile, asked: Asked, session: Session | undefined): ProcessSpec {
    const { overrides } = asked;
    const key = keyOf(profile, overrides);
    const isFork = session?.fork === true;
    return {
      profile: profile.name,
      // No other prompt may use the process of a fork.
      key: this.#dated(isFork ? `${key}:fork-${++this.#forks}` : key),
      sessionId: isFork ? undefined : session?.resume,
      resumes: session !== undefined,
      // The CLI counts the budget over the life of its process.
      own: isFork || key !== keyOf(profile),
      once: (overrides.maxBudgetUsd ?? profile.limits.maxBudgetUsd) !== undefined,
      background: profile.limits.background,
      launch: (name) => {
        const launch = launchOf(profile, overrides, this.#options.config.configDirectory);
        return this.#launch(name, profile, launch, asked, session);
      },
    };
  }

  /** A process that has read another commit fits no prompt. */
  #dated(key: string): string {
    const commit = this.#options.commit();
    return commit === undefined ? key : `${key}@${commit}`;
  }

  #launch(
    name: string,
    profile: Profile,
    launch: Launch,
    { traceparent }: Pick<Asked, 'traceparent'>,
    session: Session | undefined,
  ): ClaudeProcess {
    const { configuration, workspaces } = this.#options;
    configuration.assertRight();
    const directory = workspaces.make(name, profile.workingDirectory, session?.directory);
    try {
      return this.#start(name, profile, launch, traceparent, session, directory.path);
    } catch (error) {
      void workspaces.ended(name);
      throw error;
    }
  }

  #start(
    name: string,
    profile: Profile,
    { options, environment }: Launch,
    traceparent: string | undefined,
    session: Session | undefined,
    workingDirectory: string,
  ): ClaudeProcess {
    const { config, claudePath, configuration, log, onUnprompted, onLimit } = this.#options;
    const { replacementSignal, readsLoginAgain } = this.#options;
    const owner: Owner = { profile, replaced: replacementSignal(profile) };
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
        forkAt: session?.forkAt,
        sessionId: kept === undefined ? sessionId : undefined,
        noHooks: !configuration.mayHaveHooks,
        cleanupPeriodDays: cleanupPeriodDays(config.sessionRetention),
      }),
      environment: whole,
      timeouts: timeoutsOf(whole, options.mcpServers),
      sessionEnd: sessionEndTime(config.configDirectory, whole),
      workingDirectory,
      sessionId,
      configCommit: this.#options.commit(),
      onForeignSession: (claimed) =>
        log.error('session_claimed', `${name} claimed a session that is not its own: it is ended`, {
          worker: name,
          session_id: sessionId,
          claimed,
        }),
      deniesWakeUps: profile.unprompted === 'deny',
      onUnpromptedBegin: () => {
        if (readsLoginAgain(owner.profile)) owner.replaced = replacementSignal(owner.profile);
      },
      onLimit: (limit) => onLimit(owner.profile, limit, owner.replaced),
      onUnprompted: (turn) => onUnprompted(owner.profile.name, turn),
      onStray: (what) => log.warn('worker_stray_output', `${name} wrote ${what}`, { worker: name }),
    });
    this.#owners.set(process, owner);
    if (process.pid !== undefined) {
      offerToKernel(process.pid);
      lowerPriority(process.pid);
    }
    return process;
  }
}

function digestOfLate(late: LateOptions): string {
  return createHash('sha256').update(JSON.stringify(late)).digest('base64url');
}
