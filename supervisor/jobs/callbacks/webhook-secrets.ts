/**
 * The secrets that sign callbacks: `whsec_` and base64, as the Standard Webhooks specification writes them. The file has one
 * line, or two while receivers change from one secret to the other.
 * Invariants: the file is read at each use, so a new secret needs no restart. If the file is then missing or wrong, the
 * secrets stay as they were.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { asBerthError, BerthError, messageOf } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { neverShow } from '../../../shared/redact.ts';

/** In bytes; from the specification. */
const shortest = 24;
const longest = 64;
const mostSecrets = 2;

/** A new secret: 256 random bits. */
export function makeWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/**
 * The keys in the text of the file, in the order of the lines.
 * @throws BerthError `config_invalid`
 */
export function parseWebhookSecrets(text: string, path: string): Buffer[] {
  const lines = text.split('\n').map((line) => line.trim());
  const given = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (given.length === 0 || given.length > mostSecrets) {
    throw wrong(path, `it has ${given.length} secrets, and one or ${mostSecrets} are possible`);
  }
  return given.map((line, index) => {
    neverShow(line);
    const [, encoded = ''] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? [];
    const key = Buffer.from(encoded, 'base64');
    if (key.length >= shortest && key.length <= longest) return key;
    throw wrong(
      path,
      `secret ${index + 1} is not whsec_ and the base64 of ${shortest} to ${longest} bytes`,
    );
  });
}

export class WebhookSecrets {
  readonly #path: string;
  readonly #log: Log;
  #keys: Buffer[];
  /** Why the last read failed: the failure is logged once. */
  #failure: string | undefined;

  private constructor(path: string, log: Log, keys: Buffer[]) {
    this.#path = path;
    this.#log = log;
    this.#keys = keys;
  }

  /** @throws BerthError `config_invalid` */
  static async open(path: string, log: Log): Promise<WebhookSecrets> {
    return new WebhookSecrets(path, log, await readKeys(path));
  }

  /** The keys that sign now, one or two; never rejects. */
  async keys(): Promise<readonly Buffer[]> {
    try {
      const keys = await readKeys(this.#path);
      const changed = keys.map(String).join() !== this.#keys.map(String).join();
      if (changed || this.#failure !== undefined) {
        this.#log.info('webhook_secret_loaded', 'read the secrets that sign callbacks again', {
          secrets: keys.length,
        });
      }
      this.#keys = keys;
      this.#failure = undefined;
    } catch (thrown) {
      const error = asBerthError(thrown);
      if (error.message !== this.#failure) {
        const text = 'callbacks are signed with the secrets that were read before';
        this.#log.error('webhook_secret_loaded', text, { error });
      }
      this.#failure = error.message;
    }
    return this.#keys;
  }
}

async function readKeys(path: string): Promise<Buffer[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new BerthError(
      'config_invalid',
      `cannot read the secret that signs callbacks: ${messageOf(error)}; mount the Secret that BERTH_WEBHOOK_SECRET_FILE names`,
      { cause: error },
    );
  });
  return parseWebhookSecrets(text, path);
}

function wrong(path: string, cause: string): BerthError {
  return new BerthError(
    'config_invalid',
    `cannot use ${path}: ${cause}; \`berth token --webhook\` makes one`,
  );
}
