/**
 * The login that the CLI has in its file: watched, kept alive, renewed from the source, and whether
 * prompts that need it can be answered at all.
 * Always holds: prompts are refused only where the login is lost for certain and nothing else, such as
 * an apiKeyHelper in settings.json, could take its place.
 */
import { digestOf, loginId } from '../../shared/credentials.ts';
import type { CredentialsPolicy } from '../../shared/credentials-choice.ts';
import { credentialsMemoryFile, historyFile } from '../../shared/credentials-memory.ts';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { adviceOn, type Deadline, loginDeadline, setupTokenDeadline } from './deadline.ts';
import { replacedFile } from './last-good.ts';
import type { CredentialsState } from './login-file.ts';
import { describeLoss } from './login-messages.ts';
import { tellMounts } from './mounts.ts';
import { newLoginFile } from './new-login.ts';
import { RefreshTurns } from './refresh-coordinator.ts';
import { settingsBringLogin } from './settings-login.ts';
import { CredentialsSource } from './source.ts';
import type { RefreshFailure } from './turn-login.ts';
import { type CredentialsEvent, CredentialsWatch } from './watch.ts';

/** What is kept of the login in the state directory, besides the last good one. */
export const loginStateParts = {
  directories: [],
  files: [historyFile, replacedFile, newLoginFile, credentialsMemoryFile],
};

export interface LoginOptions {
  configDirectory: string;
  stateDirectory: string;
  /** Where a person's login is mounted. */
  source: string;
  policy: CredentialsPolicy;
  /** True if a variable brings another login, so that the file's does not count. */
  elsewhere?: boolean;
  /** CLAUDE_CODE_OAUTH_TOKEN, if that is what the CLI uses: only its hash is kept. */
  setupToken?: string | undefined;
  /** The same of profiles that have one of their own, by their names. */
  setupTokens?: () => ReadonlyMap<string, string>;
  log: Log;
  /** Told each time that the file has changed, and when it is known whether the login is lost. */
  onChange: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Told of each refresh that was due and has not come about. */
  onRefreshFailure?: (reason: RefreshFailure) => void;
  /** Milliseconds between two looks at the source. */
  interval?: number;
}

export class Login {
  readonly watch: CredentialsWatch;
  readonly turns: RefreshTurns;
  readonly #options: LoginOptions;
  readonly #source: CredentialsSource;
  /** Of the setup-tokens of profiles, by profile. */
  #deadlines: ReadonlyMap<string, Deadline> = new Map();
  #noting: Promise<void> = Promise.resolve();
  #refusal: BerthError | undefined;

  constructor(options: LoginOptions) {
    this.#options = options;
    const { configDirectory, stateDirectory, log, onEvent } = options;
    const { onRefreshFailure = () => {} } = options;
    this.watch = new CredentialsWatch({
      ...{ configDirectory, stateDirectory, log },
      ...(onEvent ? { onEvent } : {}),
      onRefused: () => {
        log.error('credentials_refresh_failed', 'the login server has refused the refresh token', {
          reason: 'refused',
        });
        onRefreshFailure('refused');
      },
      onChange: (state) => {
        if (!this.watch.lost) this.#refusal = undefined;
        this.turns.changed();
        options.onChange(state);
        if (this.watch.lost) void this.#lose(state);
      },
    });
    this.turns = new RefreshTurns({
      watch: this.watch,
      elsewhere: () => settingsBringLogin(configDirectory),
      refusal: () => this.#refusal,
      log,
      onFailure: onRefreshFailure,
    });
    const { source: path, policy, interval } = options;
    this.#source = new CredentialsSource({
      ...{ path, stateDirectory, policy, watch: this.watch, log },
      ...(interval === undefined ? {} : { interval }),
    });
  }

  /** By when a person must log in again; undefined if nothing tells. */
  get deadline(): Deadline | undefined {
    const { setupToken, elsewhere } = this.#options;
    if (setupToken !== undefined) {
      const since = this.watch.history.since(setupTokenId(setupToken));
      return since === undefined ? undefined : setupTokenDeadline(since);
    }
    const { state } = this.watch;
    if (elsewhere || state.kind !== 'valid') return undefined;
    return loginDeadline(state.credentials, this.watch.history.since(loginId(state.credentials)));
  }

  /** By when the setup-tokens of profiles end, by profile. */
  get setupTokens(): ReadonlyMap<string, Deadline> {
    return this.#deadlines;
  }

  /** To be called when profiles have changed; never rejects. */
  noteSetupTokens(): Promise<void> {
    this.#noting = this.#noting.then(async () => {
      const { history } = this.watch;
      const deadlines = new Map<string, Deadline>();
      for (const [profile, token] of this.#options.setupTokens?.() ?? []) {
        const id = setupTokenId(token);
        await history.noteSetupToken(id);
        deadlines.set(profile, setupTokenDeadline(history.since(id) ?? Date.now()));
      }
      this.#deadlines = deadlines;
    });
    return this.#noting;
  }

  /** What a person should do about the login now; undefined if nothing. */
  get advice(): string | undefined {
    if (this.#refusal && !this.#options.elsewhere) {
      return describeLoss(this.state, this.watch.waiting);
    }
    const now = Date.now();
    const { deadline } = this;
    const own = deadline && adviceOn(deadline, now);
    if (own !== undefined) return own;
    for (const [profile, each] of this.#deadlines) {
      const advice = adviceOn(each, now);
      if (advice !== undefined) return `profile ${profile}: ${advice}`;
    }
    return undefined;
  }

  get state(): CredentialsState {
    return this.watch.state;
  }

  /** The answer to prompts that need this login; undefined as long as it may be good. */
  get refusal(): BerthError | undefined {
    return this.#refusal;
  }

  /** @throws BerthError `volume_damaged` */
  async start(): Promise<void> {
    const { configDirectory, source, log } = this.#options;
    await tellMounts(configDirectory, source, log);
    await this.watch.start();
    const { setupToken } = this.#options;
    if (setupToken !== undefined) {
      await this.watch.history.noteSetupToken(setupTokenId(setupToken));
    }
    await this.noteSetupTokens();
    await this.#source.start();
    await this.#tellScope();
  }

  async stop(): Promise<void> {
    await this.#source.stop();
    await this.#noting;
    await this.watch.stop();
  }

  /** How many replicas there are nobody tells a pod; so it is said to all. */
  async #tellScope(): Promise<void> {
    const { elsewhere, configDirectory, log } = this.#options;
    if (elsewhere || !this.turns.renewable || (await settingsBringLogin(configDirectory))) return;
    const sentence =
      'this login belongs to one pod: each of its refresh tokens works once, so a second replica or another machine with a copy of it would lose it; several replicas need a setup-token or an API key';
    log.info('credentials_of_one_pod', sentence);
  }

  async #lose(state: CredentialsState): Promise<void> {
    const { configDirectory, log, onChange } = this.#options;
    if (await settingsBringLogin(configDirectory)) return;
    // A good one came in the meantime.
    if (!this.watch.lost || this.watch.state !== state) return;
    const { waiting } = this.watch;
    const loss = describeLoss(state, waiting);
    log.error('credentials_lost', loss, { state: state.kind });
    const code = waiting ? 'login_unavailable' : 'login_required';
    const details = waiting ? { details: { retry_after: 30 } } : {};
    this.#refusal = new BerthError(code, `cannot answer the prompt: ${loss}`, details);
    onChange(state);
    this.turns.changed();
  }
}

function setupTokenId(token: string): string {
  return digestOf(token).slice(0, 12);
}
