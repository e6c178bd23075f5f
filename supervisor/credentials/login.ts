/**
 * The login in the CLI's file: watches it, restores it, renews it from the source, and determines
 * whether prompts that need the login can be answered.
 * Invariant: prompts are refused only if the login is certainly lost and nothing else, such as an
 * apiKeyHelper in settings.json, can replace it.
 */
import { join } from 'node:path';
import { credentialsFileName, loginId } from '../../shared/credentials.ts';
import type { CredentialsPolicy } from '../../shared/credentials-choice.ts';
import {
  credentialsMemoryFile,
  historyFile,
  newLoginFile,
} from '../../shared/credentials-memory.ts';
import { digestOf } from '../../shared/digest.ts';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { settingsBringLogin } from '../../shared/login-variables.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { adviceOn, type Deadline, loginDeadline, setupTokenDeadline } from './deadline.ts';
import { replacedFile } from './last-good.ts';
import { type CredentialsState, describeLoss, warnOfMounts } from './login-file.ts';
import { RefreshCoordinator, type RefreshFailure } from './refresh-coordinator.ts';
import { CredentialsSource } from './source.ts';
import { type CredentialsEvent, CredentialsWatch } from './watch.ts';

/** Files that are kept in the state directory, besides the last good login. */
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
  /** True if a variable provides another login, so that the file does not count. */
  elsewhere?: boolean;
  /** CLAUDE_CODE_OAUTH_TOKEN, if the CLI uses it: only its hash is kept. */
  setupToken?: string | undefined;
  /** The same for profiles that have their own, by the names of the profiles. */
  setupTokens?: () => ReadonlyMap<string, string>;
  log: Log;
  /** Called when the file has changed, and when the login is known to be lost. */
  onChange: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Called for each due refresh that did not happen. */
  onRefreshFailure?: (reason: RefreshFailure) => void;
  /** Milliseconds between two reads of the source. */
  interval?: number;
}

export class Login {
  readonly watch: CredentialsWatch;
  readonly turns: RefreshCoordinator;
  readonly #options: LoginOptions;
  readonly #source: CredentialsSource;
  /** When the setup-tokens of profiles end, by profile. */
  #deadlines: ReadonlyMap<string, Deadline> = new Map();
  readonly #recording = new SerialQueue();
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
    this.turns = new RefreshCoordinator({
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

  /** The latest time at which a person must log in again; undefined if it is unknown. */
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

  /** When the setup-tokens of profiles end, by profile. */
  get setupTokens(): ReadonlyMap<string, Deadline> {
    return this.#deadlines;
  }

  /** To be called when profiles have changed; never rejects. */
  recordSetupTokens(): Promise<void> {
    return this.#recording.add(async () => {
      const { history } = this.watch;
      const deadlines = new Map<string, Deadline>();
      for (const [profile, token] of this.#options.setupTokens?.() ?? []) {
        const id = setupTokenId(token);
        await history.recordSetupToken(id);
        deadlines.set(profile, setupTokenDeadline(history.since(id) ?? Date.now()));
      }
      this.#deadlines = deadlines;
    });
  }

  /** The next step for a person about the login; undefined if there is none. */
  get advice(): string | undefined {
    if (this.#refusal && !this.#options.elsewhere) return this.#describeLoss();
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
    await warnOfMounts(join(configDirectory, credentialsFileName), source, log);
    await this.watch.start();
    const { setupToken } = this.#options;
    if (setupToken !== undefined) {
      await this.watch.history.recordSetupToken(setupTokenId(setupToken));
    }
    await this.recordSetupTokens();
    await this.#source.start();
    await this.#logScope();
  }

  async stop(): Promise<void> {
    await this.#source.stop();
    await this.#recording.idle();
    await this.watch.stop();
  }

  /** A pod cannot know how many replicas there are, so each pod logs this. */
  async #logScope(): Promise<void> {
    const { elsewhere, configDirectory, log } = this.#options;
    if (elsewhere || !this.turns.renewable || (await settingsBringLogin(configDirectory))) return;
    const sentence =
      'this login belongs to one pod: each of its refresh tokens works once, so a second replica or another machine with a copy of it would lose it; several replicas need a setup-token or an API key';
    log.info('credentials_of_one_pod', sentence);
  }

  /** To be called when settings.json may have changed, since a login of the settings counts too; never rejects. */
  async review(): Promise<void> {
    if (!this.watch.lost) return;
    if (!(await settingsBringLogin(this.#options.configDirectory))) {
      if (!this.#refusal) await this.#lose(this.watch.state);
    } else if (this.#refusal) {
      this.#refusal = undefined;
      this.turns.changed();
      this.#options.onChange(this.state);
    }
  }

  #describeLoss(): string {
    const { waiting } = this.watch;
    return describeLoss(this.state, waiting && messageOf(waiting.error));
  }

  async #lose(state: CredentialsState): Promise<void> {
    const { configDirectory, log, onChange } = this.#options;
    if (await settingsBringLogin(configDirectory)) return;
    // A good login has arrived since.
    if (!this.watch.lost || this.watch.state !== state) return;
    const { waiting } = this.watch;
    const loss = this.#describeLoss();
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
