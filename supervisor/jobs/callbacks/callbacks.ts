/**
 * Callbacks of jobs: which URLs are accepted, and the delivery after the end of a job.
 * Invariant: every callback is signed, since hosts are only allowed together with a secret (see config.ts).
 */
import type { Environment } from '../../../shared/config.ts';
import type { Log } from '../../../shared/log.ts';
import { proxyFor } from '../../../shared/proxy.ts';
import type { JobStore } from '../job-store.ts';
import { type Resolve, resolveHost } from './allowed-addresses.ts';
import type { AllowedHosts } from './allowed-hosts.ts';
import { type CallbackUrl, parseCallbackUrl } from './callback-url.ts';
import { checkCallback, checkHost } from './check-callback.ts';
import { CallbackDelivery } from './delivery.ts';
import type { Message } from './message.ts';
import { type Answer, post } from './post.ts';
import { signedHeaders } from './sign.ts';
import type { CallbackOutcome } from './verdict.ts';
import { WebhookSecrets } from './webhook-secrets.ts';

export interface CallbacksOptions {
  hosts: AllowedHosts;
  secretFile: string | undefined;
  /** With the proxy variables. */
  environment: Environment;
  log: Log;
  resolve?: Resolve | undefined;
}

export class Callbacks {
  readonly #options: CallbacksOptions;
  readonly #secrets: WebhookSecrets | undefined;
  #delivery: CallbackDelivery | undefined;

  private constructor(options: CallbacksOptions, secrets: WebhookSecrets | undefined) {
    this.#options = options;
    this.#secrets = secrets;
  }

  /** @throws BerthError `config_invalid` if the secret cannot be used */
  static async open(options: CallbacksOptions): Promise<Callbacks> {
    const { secretFile, log } = options;
    return new Callbacks(
      options,
      secretFile ? await WebhookSecrets.open(secretFile, log) : undefined,
    );
  }

  /**
   * Checks the `callback_url` of a new job.
   * @throws BerthError `invalid_request` that names the setting
   */
  async check(text: string): Promise<void> {
    const { hosts, environment, resolve = resolveHost } = this.#options;
    const { host, tls } = parseCallbackUrl(text);
    const proxied = proxyFor({ host, http: !tls }, environment) !== undefined;
    await checkCallback(text, hosts, proxied ? undefined : resolve);
  }

  /**
   * Sends one signed message once, for example the question of an approval.
   * @returns the HTTP status. @throws Error whose message has no path of the URL; BerthError `invalid_request`
   */
  async send(url: string, message: Message, signal: AbortSignal): Promise<number> {
    return (await this.#post(parseCallbackUrl(url), message, signal)).status;
  }

  async #post(url: CallbackUrl, { id, body }: Message, signal: AbortSignal): Promise<Answer> {
    const { hosts, environment, resolve } = this.#options;
    // The setting may have changed since the URL was accepted.
    checkHost(url, hosts);
    const headers = signedHeaders(id, body, (await this.#secrets?.keys()) ?? [], Date.now());
    return post(url, headers, body, { hosts, environment, resolve, signal });
  }

  /** @param onOutcome called after each request */
  start(store: JobStore, onOutcome?: (outcome: CallbackOutcome) => void): void {
    const { log } = this.#options;
    this.#delivery ??= new CallbackDelivery({
      ...{ store, log, onOutcome },
      send: (url, message, signal) => this.#post(url, message, signal),
    });
    this.#delivery.start();
  }

  /** Ends running requests at once; they are sent again after the next start. */
  async stop(): Promise<void> {
    await this.#delivery?.stop();
  }
}
