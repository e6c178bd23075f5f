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
import { tellMounts } from './mounts.ts';
import { settingsBringLogin } from './other-login.ts';
import { CredentialsSource } from './source.ts';
import { describeLoss } from './tell.ts';
import { type CredentialsEvent, type CredentialsState, CredentialsWatch } from './watch.ts';

/** What is kept of the login in the state directory, besides the last good one. */
export const loginStateParts = {
  directories: [],
  files: [historyFile, replacedFile, credentialsMemoryFile],
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
  log: Log;
  /** Told each time that the file has changed, and when it is known whether the login is lost. */
  onChange: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Milliseconds between two looks at the source. */
  interval?: number;
}

export class Login {
  readonly watch: CredentialsWatch;
  readonly #options: LoginOptions;
  readonly #source: CredentialsSource;
  #refusal: BerthError | undefined;

  constructor(options: LoginOptions) {
    this.#options = options;
    const { configDirectory, stateDirectory, log, onEvent } = options;
    this.watch = new CredentialsWatch({
      ...{ configDirectory, stateDirectory, log },
      ...(onEvent ? { onEvent } : {}),
      onChange: (state) => {
        if (!this.watch.lost) this.#refusal = undefined;
        options.onChange(state);
        if (this.watch.lost) void this.#lose(state);
      },
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

  /** What a person should do about the login now; undefined if nothing. */
  get advice(): string | undefined {
    if (this.#refusal && !this.#options.elsewhere) return describeLoss(this.state);
    const { deadline } = this;
    return deadline && adviceOn(deadline, Date.now());
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
    if (setupToken !== undefined) await this.watch.history.noteFirst(setupTokenId(setupToken));
    await this.#source.start();
  }

  async stop(): Promise<void> {
    await this.#source.stop();
    await this.watch.stop();
  }

  async #lose(state: CredentialsState): Promise<void> {
    const { configDirectory, log, onChange } = this.#options;
    if (await settingsBringLogin(configDirectory)) return;
    // A good one came in the meantime.
    if (!this.watch.lost || this.watch.state !== state) return;
    const loss = describeLoss(state);
    log.error('credentials_lost', loss, { state: state.kind });
    this.#refusal = new BerthError('login_required', `cannot answer the prompt: ${loss}`);
    onChange(state);
  }
}

function setupTokenId(token: string): string {
  return digestOf(token).slice(0, 12);
}
