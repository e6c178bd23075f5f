/** Creates the parts of a supervisor and connects them; starts nothing. */
import { availableParallelism } from 'node:os';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { bringsLogin, setupTokenIn } from '../../shared/login-variables.ts';
import { LiveApprovals } from '../approvals/live-approvals.ts';
import type { DecisionOutcome } from '../approvals/prompt-approvals.ts';
import { InitReportReader } from '../boot/init-report.ts';
import { LastGoodCommit } from '../boot/last-good-commit.ts';
import { ShutdownMarker } from '../boot/unclean-shutdown.ts';
import { readExpectedExtensions } from '../claude/expected-extensions.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import { queryUsage } from '../claude/usage-query.ts';
import { ForkFlag } from '../cli/fork-flag.ts';
import type { Cli } from '../cli/select.ts';
import type { SupervisorConfig } from '../config.ts';
import { ConfigurationGuard } from '../configuration/guard.ts';
import { Conversations } from '../conversations/conversations.ts';
import { AccountChanges } from '../credentials/account-changes.ts';
import { Login } from '../credentials/login.ts';
import { CliProblems } from '../health/cli-problems.ts';
import { SettingsGuard } from '../health/settings-guard.ts';
import { Authentication } from '../http/authentication.ts';
import type { Tokens } from '../http/tokens.ts';
import type { JobStore } from '../jobs/job-store.ts';
import {
  accountReasons,
  LimitEnds,
  limitReasons,
  limitSpread,
  loginReasons,
  profileReasons,
} from '../jobs/limit-ends.ts';
import { wantedSessions } from '../jobs/wanted-sessions.ts';
import { mountPoints } from '../memory/mounts.ts';
import { childCommands, treeCpu } from '../memory/process-tree.ts';
import { createMetrics, type Metrics, type Spent } from '../metrics/counters.ts';
import { Pool } from '../pool/pool.ts';
import { prepareWorker } from '../pool/prepare.ts';
import { workerStates } from '../pool/worker.ts';
import { commonLogin, loginFileUse, loginOf, setupTokensOf } from '../profiles/login.ts';
import type { Profiles } from '../profiles/profiles.ts';
import { Admission } from '../prompts/admission.ts';
import { finishEarlier, isCheckoutLost } from '../prompts/checkout-of-prompt.ts';
import { Continuation, type ContinuationOptions } from '../prompts/continue-prompt.ts';
import { LimitGate } from '../prompts/limit-gate.ts';
import { LivePrompts } from '../prompts/live-prompts.ts';
import { LiveSessions } from '../prompts/live-sessions.ts';
import type { LossReason } from '../prompts/lost-turn.ts';
import { Pause } from '../prompts/pause.ts';
import { type Prompt, PromptResolver } from '../prompts/prompt.ts';
import { Rates } from '../prompts/prompt-cost.ts';
import { Prompts } from '../prompts/prompts.ts';
import { countUnprompted } from '../prompts/unprompted-turn.ts';
import { UnpromptedWork } from '../prompts/unprompted-work.ts';
import { keepEndOf } from '../sessions/background-reports.ts';
import { SessionCatalog } from '../sessions/catalog.ts';
import { DiskWatch } from '../sessions/disk.ts';
import type { SessionMirror } from '../sessions/mirror.ts';
import { Retention } from '../sessions/retention.ts';
import { SessionStore } from '../sessions/session-store.ts';
import { Transcripts } from '../sessions/transcripts.ts';
import { Workspaces } from '../sessions/workspaces.ts';
import { PromptRate } from '../spending/prompt-rate.ts';
import { SharedRate } from '../spending/shared-rate.ts';
import { type BudgetLimits, SpendingLedger } from '../spending/spending.ts';
import { spentBySessions } from '../spending/spent-by-sessions.ts';
import { UsageWatch } from '../spending/usage-watch.ts';
import { reportsIn, UsageWindows } from '../spending/usage-windows.ts';
import type { Checkouts } from '../workspaces/checkouts.ts';
import { createCheckouts } from './checkouts.ts';
import { ConfigSync } from './config-sync.ts';
import { PoolMemory } from './pool-memory.ts';
import { ProcessSpecs } from './process-specs.ts';
import { ProfileAccounts, profileLoginsOf } from './profile-accounts.ts';
import { quotaRefusalOf, quotaReport } from './quota-report.ts';

export interface PartsOptions {
  config: SupervisorConfig;
  log: Log;
  /** The API tokens. */
  tokens: Tokens;
  profiles: Profiles;
  /** The CLI that is used; known after the start of the supervisor. */
  cli: () => Pick<Cli, 'path' | 'version' | 'setBack'>;
  /** Whether the CLI was seen to learn its options after its start; undefined before its self-test. */
  learnsLate: () => boolean | undefined;
  /** Resolves when the CLI has passed its self-test; rejects with the error of a prompt, or the signal's reason. */
  cliPassed: (signal: AbortSignal) => Promise<void>;
  /** Whether /readyz reports ready. */
  ready: () => boolean;
  /** The store of jobs; undefined before it is opened. */
  jobStore: () => JobStore | undefined;
  /** Copies sessions for other replicas; undefined if they are not copied. */
  mirror: () => SessionMirror | undefined;
  /** Called with each limit that the API has reported to this replica. */
  limitHeard: (login: string, limit: UsageLimit) => void;
}

export interface Parts {
  pool: Pool;
  configuration: ConfigurationGuard;
  /** New commits of the configuration while sessions run. */
  configSync: ConfigSync;
  cliProblems: CliProblems;
  lastGood: LastGoodCommit;
  initReport: InitReportReader;
  shutdownMarker: ShutdownMarker;
  settings: SettingsGuard;
  /** Whether the first worker has become ready; undefined if no spare is wanted. */
  firstWorker: () => Promise<boolean> | undefined;
  store: SessionStore;
  transcripts: Transcripts;
  workspaces: Workspaces;
  checkouts: Checkouts;
  disk: DiskWatch;
  gate: LimitGate;
  /** The running prompts. */
  live: LivePrompts;
  /** The turns that wait for an approval. */
  liveApprovals: LiveApprovals;
  prompts: Prompts;
  catalog: SessionCatalog;
  retention: Retention;
  promptResolver: PromptResolver;
  /** Runs the prompts of clients that send their whole history each time. */
  conversations: Conversations;
  forkFlag: ForkFlag;
  /** Continues prompts that an earlier process of berth has sent. */
  continuation: Continuation;
  /** Reports the ends of limits, pauses and faults to the jobs that wait for them. */
  limitEnds: LimitEnds;
  pause: Pause;
  ledger: SpendingLedger;
  windows: UsageWindows;
  /** Queries the use of the account periodically. */
  usageWatch: UsageWatch;
  admission: Admission;
  /** Counts the prompts of each token. */
  promptRate: SharedRate;
  /** Ends work without a prompt that may not run. */
  unprompted: UnpromptedWork;
  authentication: Authentication;
  poolMemory: PoolMemory;
  login: Login;
  metrics: Metrics;
  /** The daily budgets that count for a token and a profile. */
  budgetsOf: (names: { token?: string; profile?: string }) => BudgetLimits;
}

export function createParts(options: PartsOptions): Parts {
  const { config, log, tokens, profiles, cli, learnsLate, ready, jobStore } = options;
  const { configDirectory, stateDirectory, workspaceDirectory } = config;
  const temporaryDirectory = config.inherited.TMPDIR ?? '/tmp';

  const limitEnds = new LimitEnds();
  const store = new SessionStore({ stateDirectory, sharedDirectory: workspaceDirectory, log });
  const workspaces = new Workspaces(workspaceDirectory);
  const transcripts = new Transcripts({ configDirectory, temporaryDirectory });
  const disk = new DiskWatch({
    paths: [...new Set([configDirectory, workspaceDirectory])],
    low: config.diskLow,
    full: config.diskFull,
    reserve: config.diskReserve,
    limits: config.diskLimits ?? new Map(),
    mountPoints,
    onShortage: () => void checkouts.makeRoom(),
    onRoom: () => limitEnds.reportRoom(),
    log,
  });
  const configuration = new ConfigurationGuard({
    configDirectory,
    stateDirectory,
    log,
    onAction: (action) => metrics.configurationChanged(action),
    onDistrust: () => {
      const text = 'workers may have read configuration that a tool changed; all workers are ended';
      log.error('configuration_distrusted', text);
      for (const worker of pool.workers) void pool.recycle(worker, 'configuration', true);
    },
  });
  const usesFile = loginFileUse(config.inherited);
  const specs = new ProcessSpecs({
    config,
    claudePath: () => cli().path,
    commit: () => lastGood.current,
    learnsLate,
    profiles,
    workspaces,
    store,
    configuration,
    log,
    onUnprompted: (profile, turn) => {
      countUnprompted({ store, rates, meters, log }, profile, turn);
      // The worker may be idle from now on.
      pool.reconsider();
    },
    onLimit: (profile, limit, replaced) => limitHeard(loginOf(profile), limit, replaced),
    replacementSignal: (profile) => gate.replacementSignal(loginOf(profile)),
    readsLoginAgain: usesFile,
  });
  const lastGood = new LastGoodCommit(stateDirectory, log);
  const initReport = new InitReportReader(stateDirectory);
  const shutdownMarker = new ShutdownMarker(stateDirectory, log);
  const firstWorker = Promise.withResolvers<boolean>();
  const settings = new SettingsGuard({ configDirectory, policy: config.settingsCheck, log });
  const cliProblems = new CliProblems(log);
  const pool = new Pool({
    explain: (profile, error) => lastGood.explain(profile, error),
    onStart: (profile, ready) => {
      firstWorker.resolve(ready);
      configSync.started(profile, ready);
      if (ready) lastGood.ready(profile);
    },
    warm: () => specs.warm(),
    mostStarts: Math.max(1, Math.floor(availableParallelism() / 2)),
    maxWorkers: config.maxWorkers,
    queueLimit: config.queueLimit,
    idleTimeout: config.workerIdleTimeout,
    prepare: async (process, spec) => {
      const { changes } = configuration;
      // Both overlap the start of the process, for which a resumed session waits.
      const noted = settings.note(process);
      const expected = readExpectedExtensions(configDirectory);
      try {
        await prepareWorker(process, spec);
      } catch (error) {
        throw poolMemory.explain(error);
      } finally {
        process.health.expect(await expected);
        cliProblems.note(spec.profile, process.health.reports);
      }
      await noted;
      configuration.assertUnchanged(changes);
    },
    ceiling: () => poolMemory.ceiling,
    beforeEnd: (pid) => poolMemory.beforeEnd(pid),
    clearAway: async (name, pid) => {
      await poolMemory.clearAway(name, pid);
      await workspaces.ended(name);
    },
    startsAlone: (name) => {
      const profile = profiles.get(name);
      return profile !== undefined && usesFile(profile) && login.turns.pending;
    },
    onRecycle: (reason) => metrics.recycled(reason),
    onWorkLost: (lost) => keepEndOf(store, lost),
    log,
  });
  const profileAccounts = new ProfileAccounts(() =>
    profileLoginsOf(profiles.all(), config.inherited),
  );
  /** Another account has limits of its own. */
  const accountsReplaced = (logins: readonly string[]): void => {
    if (logins.length === 0) return;
    for (const login of logins) {
      gate.forget(login);
      windows.forget(login);
    }
    limitEnds.report(accountReasons, limitSpread);
  };
  profiles.onChange(() => {
    cliProblems.forget();
    pool.renew();
    void login.recordSetupTokens();
    limitEnds.report(profileReasons);
    accountsReplaced(profileAccounts.changed());
  });
  const windows = new UsageWindows();
  const gate = new LimitGate({
    onHeard: (login, limit) => windows.heard(login, reportsIn(limit)),
    onChange: ({ closed, ...state }) => {
      if (closed)
        log.warn(
          'limit_reached',
          'a usage limit is reached: no prompt of this login is sent until the limit ends',
          state,
        );
      else {
        log.info(
          'limit_lifted',
          'the usage limit ended: prompts of this login are sent again',
          state,
        );
        limitEnds.report(limitReasons, limitSpread);
      }
    },
  });
  /**
   * What the API reports to this replica. Reports of other replicas come to the gate alone: this replica would publish
   * them as reports of its own.
   */
  const limitHeard = (login: string, limit: UsageLimit, replaced?: AbortSignal): void => {
    // Other replicas must not take the limit of the account before for one of the new account either.
    if (gate.heard(login, limit, replaced)) options.limitHeard(login, limit);
  };
  const pause = new Pause(stateDirectory, log, () => limitEnds.report(['paused']));
  const ledger = new SpendingLedger({
    stateDirectory,
    log,
    recover: async (day) => {
      await store.loaded;
      return spentBySessions(store.records, day);
    },
  });
  const rates = new Rates();
  const spentBy = (token: string | undefined, profile: string, turn: Spent): void => {
    ledger.add(token, profile, turn.costUsd);
    metrics.spent(profile, turn, token);
  };
  const meters = {
    spentBy,
    spent: ({ token, profile }: Prompt, turn: Spent) => spentBy(token, profile.name, turn),
    costUnseen: (profile: string) => metrics.costUnseen(profile),
    lost: (reason: LossReason, carriedOn: boolean) => metrics.lost(reason, carriedOn),
    unkept: () => metrics.turnUnkept(),
    approvalEnded: (outcome: DecisionOutcome) => metrics.approvalEnded(outcome),
  };
  const budgetsOf: Parts['budgetsOf'] = ({ token, profile }) => ({
    token: token === undefined ? undefined : profiles.token(token).dailyBudgetUsd,
    profile: profile === undefined ? undefined : profiles.get(profile)?.limits.dailyBudgetUsd,
    deployment: lower(config.dailyBudget, profiles.dailyBudgetUsd),
  });
  const kept = { store, transcripts, workspaces, log };
  const checkouts = createCheckouts(config, log, disk, () => metrics);
  const live = new LivePrompts();
  const liveApprovals = new LiveApprovals();
  const configSync = new ConfigSync({
    ...{ pool, guard: configuration, lastGood, initReport, live, log },
    onCommit() {
      cliProblems.forget();
      void login.review().then(() => login.refusal ?? limitEnds.report(loginReasons));
    },
  });
  const promptRate = new SharedRate(new PromptRate(), log);
  const keyOf = ({ profile }: Prompt): string => loginOf(profile);
  const admission = new Admission({
    live,
    pause,
    ledger,
    budgetsOf: ({ token, profile: { name: profile } }) => ({
      profile,
      limits: budgetsOf({ token, profile }),
    }),
    quotaRefusal: ({ profile, overrides: { model }, priority }) =>
      quotaRefusalOf(windows, profile, model === undefined ? { priority } : { model, priority }),
    rate: promptRate,
    knowsToken: (id) => tokens.knows(id),
    lostLogin: ({ profile }) => (usesFile(profile) ? login.refusal : undefined),
    ...{ settings, disk, gate, keyOf },
  });
  const catalog = new SessionCatalog({
    ...{ ...kept, running: new LiveSessions(live, pool) },
    onRemoved: (id) => options.mirror()?.forget(id),
  });
  const prompts = new Prompts({
    ...{ admission, live, pool, settings, cliProblems, store, transcripts, catalog, workspaces },
    ...{ checkouts, disk, gate, limitHeard, specs, log, approvals: liveApprovals },
    logins: {
      keyOf,
      use: async ({ profile }, signal) =>
        usesFile(profile) ? login.turns.begin(signal) : undefined,
    },
    hang: { bound: config.hangTimeout, cpuOf: treeCpu, commandsOf: childCommands },
    rates,
    cliVersion: () => cli().version,
    cliPassed: options.cliPassed,
    meters,
    onFinished: ({ profile }, outcome, milliseconds, answer) => {
      metrics.prompt(profile.name, outcome, milliseconds, answer);
      if (answer) options.mirror()?.note(answer.session_id);
    },
  });
  tokens.onRevoked(() => admission.review());
  const unprompted = new UnpromptedWork({
    pool,
    recordOf: (id) => store.peek(id),
    refusalOf: ({ token, profile: name }) => {
      const profile = profiles.get(name);
      const login = profile && loginOf(profile);
      return (
        pause.refusal ??
        revokedName(tokens, token) ??
        ledger.refusalOf(token, name, budgetsOf({ token, profile: name })) ??
        (profile && quotaRefusalOf(windows, profile)) ??
        (login === undefined ? undefined : gate.refusalOf(login))
      );
    },
    log,
  });
  const attachmentLimits = { files: config.attachmentMaxFiles, bytes: config.attachmentMaxSize };
  const promptResolver = new PromptResolver({
    ...{ store, profiles, promptTimeout: config.promptTimeout },
    adopt: async (id) => {
      const adoption = await options.mirror()?.adopt(id);
      return adoption === 'adopted' || adoption === 'here';
    },
    attachmentLimits,
  });
  const forkFlag = new ForkFlag({ config, cli, log });
  const conversations = new Conversations({
    ...{ promptResolver, prompts, profiles, store, transcripts, attachmentLimits },
    forksAt: (signal) => forkFlag.has(signal),
    onOrigin: (origin) => metrics.conversation(origin),
  });
  const spent = (token: string, profile: string, turn: Spent): void =>
    spentBy(token, profile, turn);
  const finish: ContinuationOptions['finish'] = async (record, { publish }, answer, signal) => {
    const profile = profiles.get(record.profile);
    const parts = { checkouts, workspaces, store, live, pool };
    return finishEarlier(parts, record, profile, publish, answer, signal);
  };
  const onDisk = { isCheckoutLost: isCheckoutLost.bind(undefined, workspaces) };
  const retention = new Retention({
    ...kept,
    retention: config.sessionRetention,
    budget: config.diskBudget,
    catalog,
    configDirectory,
    temporaryDirectory,
    onRemoved: (reason) => metrics.sessionRemoved(reason),
    wanted: async (signal) => {
      const jobs = jobStore();
      return jobs === undefined ? new Set() : wantedSessions(jobs, signal);
    },
    isFull: () => disk.level === 'full',
  });
  const poolMemory: PoolMemory = new PoolMemory({
    ...{ config, pool, log },
    limitOf: (profile) => profiles.get(profile)?.limits.memory,
  });
  const login: Login = new Login({
    configDirectory,
    stateDirectory,
    source: config.credentialsSource,
    policy: config.credentialsPolicy,
    elsewhere: bringsLogin(config.inherited),
    setupToken: setupTokenIn(config.inherited),
    setupTokens: () => setupTokensOf(profiles.all()),
    log,
    onChange: (state) => {
      if (accounts.mayBeAnother(state)) accountsReplaced([commonLogin]);
      if (state.kind === 'valid') limitEnds.report(loginReasons);
      admission.review();
      // Some starts may have waited for a refresh.
      pool.reconsider();
    },
    onEvent: (event) => metrics.credentials(event),
    onRefreshFailure: (reason) => metrics.refreshFailed(reason),
  });
  const accounts = new AccountChanges(login.watch.history);
  const usageWatch = new UsageWatch({
    ...{ windows, log, login: commonLogin },
    replacementSignal: () => gate.replacementSignal(commonLogin),
    // Other logins, such as setup-tokens, may not read their use.
    wanted: () =>
      pause.state === undefined &&
      pool.count('busy') === 0 &&
      login.state.kind === 'valid' &&
      quotaReport(profiles.all(), windows).shares.some(({ login }) => login === commonLogin) &&
      profiles.all().some(usesFile),
    query: async (signal) => {
      const { state } = login;
      if (state.kind !== 'valid' || state.credentials.expiresAt < Date.now() + 120_000) return;
      const { text } = state.credentials;
      const { inherited } = config;
      const directories = { configDirectory, temporaryDirectory };
      return queryUsage({ path: cli().path, inherited, login: text, ...directories, signal });
    },
  });
  const metrics = createMetrics({
    workers: () => Object.fromEntries(workerStates.map((state) => [state, pool.count(state)])),
    profiles: () => profiles.all().map(({ name }) => name),
    tokens: () => tokens.names(),
    launchFailing: () =>
      profiles.all().map(({ name }) => [name, pool.launchFailures.has(name)] as const),
    cliProblems: () => cliProblems.all,
    ready,
    uncleanEnd: () => shutdownMarker.uncleanEnd,
    queued: () => pool.queued,
    queueLimit: () => config.queueLimit,
    memory: () => poolMemory.report,
    init: initReport,
    profilesRefused: () => profiles.status.problem !== null,
    settingsIgnored: () => settings.ignored,
    cliSetBack: () => cli().setBack === true,
    spending: () => {
      const { total_usd: spent, tokens } = ledger.spent;
      return { spent, tokens, limit: budgetsOf({}).deployment };
    },
    paused: () => pause.state !== undefined,
    limits: () => gate.states,
    quota: () => quotaReport(profiles.all(), windows),
    credentialsExpiry: () => expiryOf(login),
    login: () => ({
      lost: login.refusal !== undefined,
      waits: login.watch.waiting !== undefined,
      refreshedAt: login.watch.refreshedAt,
      deadline: login.deadline,
      setupTokens: login.setupTokens,
    }),
    disks: () => disk.readings,
    sessions: () => store.size,
    checkouts: () => checkouts.usage,
    jobs: jobStore,
    approvals: () => liveApprovals.all.length,
  });
  return {
    ...{
      pool,
      configuration,
      configSync,
      cliProblems,
      lastGood,
      initReport,
      shutdownMarker,
      settings,
    },
    firstWorker: () => (specs.warm().length > 0 ? firstWorker.promise : undefined),
    ...{
      store,
      transcripts,
      workspaces,
      checkouts,
      disk,
      gate,
      live,
      liveApprovals,
      prompts,
      catalog,
    },
    retention,
    ...{ promptResolver, conversations, forkFlag },
    ...{
      limitEnds,
      continuation: new Continuation({
        ...kept,
        promptResolver,
        catalog,
        rates,
        spent,
        finish,
        ...onDisk,
      }),
    },
    ...{
      pause,
      ledger,
      windows,
      usageWatch,
      admission,
      promptRate,
      unprompted,
      poolMemory,
      login,
      metrics,
      budgetsOf,
    },
    authentication: new Authentication({
      tokens,
      log,
      onFailure: (reason) => metrics.authFailure(reason),
    }),
  };
}

function lower(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** Seconds since 1970. */
function expiryOf({ state }: Login): number | undefined {
  return state.kind === 'valid' ? state.credentials.expiresAt / 1_000 : undefined;
}

/** The error for sessions whose token was revoked, with all other tokens of its name. */
function revokedName(tokens: Tokens, name: string): BerthError | undefined {
  if (tokens.names().includes(name)) return undefined;
  return new BerthError('token_revoked', `cannot continue: no token of ${name} is valid any more`);
}
