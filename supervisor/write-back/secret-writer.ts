/**
 * Writes one login into the live Secret: read, decide, patch; after a conflict from the start.
 * Invariants: every patch names the version of the Secret on which the decision was made. Logins
 * that this process wrote or decided about are distinguished from logins that others wrote since.
 */
import { LRUCache } from 'lru-cache';
import { type Backoff, backoff } from '../../shared/backoff.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import { WriteBackFailure } from './api-failure.ts';
import { type Decision, decide, type LiveLogin } from './decide.ts';
import { isMalformed, isSource, patchFor, readLive, type SecretObject } from './live-secret.ts';
import type { SecretApi } from './secret-api.ts';
import { readHistory, type VolumeLogin, type VolumePlaces } from './volume.ts';

export interface SecretWriterOptions extends VolumePlaces {
  api: Pick<SecretApi, 'get' | 'patch'>;
  log: Log;
}

/** The number of conflicts in a row after which another writer seems to write all the time. */
const patience = 4;
/** Between two attempts after a conflict. */
const spread: Backoff = { first: 100, longest: 1_600, jitter: 1 };
/** The number of newest logins and contents that are remembered. */
const remembered = 64;

export class SecretWriter {
  readonly #options: SecretWriterOptions;
  /** The content of the Secret at the last decision, and the content that was sent to it. */
  readonly #ours = new LRUCache<string, true>({ max: remembered });
  /** Ids of the logins of earlier decisions. */
  readonly #seen = new LRUCache<string, true>({ max: remembered });

  constructor(options: SecretWriterOptions) {
    this.#options = options;
  }

  /**
   * @param login undefined only reads the Secret
   * @throws WriteBackFailure
   */
  async settle(login: VolumeLogin | undefined, signal: AbortSignal): Promise<Decision> {
    for (let conflicts = 0; ; conflicts++) {
      try {
        return await this.#once(login, signal);
      } catch (error) {
        const isConflict = error instanceof WriteBackFailure && error.reason === 'conflict';
        if (!isConflict || conflicts === patience || signal.aborted) throw error;
        // So that two writers that collided do not collide again.
        await pause(backoff(conflicts + 1, spread), signal);
      }
    }
  }

  async #once(login: VolumeLogin | undefined, signal: AbortSignal): Promise<Decision> {
    const { api, log } = this.#options;
    const found = await api.get(signal);
    if (!login) return 'same';
    if (isSource(found, login.source)) {
      throw new WriteBackFailure(
        'own_source',
        'BERTH_WRITE_BACK_SECRET names the Secret in which a person provides the login; name another Secret, which is used for nothing else',
      );
    }
    const decision = await this.#decide(login, readLive(found));
    if (decision === 'write') {
      if (isMalformed(found)) {
        log.warn(
          'credentials_unreadable',
          'the live Secret does not contain a login; its content is replaced',
          {
            from: 'live',
          },
        );
      }
      await this.#write(login, found, signal);
    } else {
      this.#ours.set(print(readLive(found)), true);
    }
    this.#seen.set(login.id, true);
    return decision;
  }

  async #decide(login: VolumeLogin, live: LiveLogin): Promise<Decision> {
    const history = await readHistory(this.#options).catch((error: unknown) => {
      throw new WriteBackFailure('volume', messageOf(error), { cause: error });
    });
    const known = this.#ours.size > 0;
    return decide(login, live, {
      isSpent: (id) => history.is('superseded', id) || history.is('refused', id),
      liveBy: !known ? 'unknown' : this.#ours.has(print(live)) ? 'us' : 'others',
      isNew: !this.#seen.has(login.id),
      now: Date.now(),
    });
  }

  async #write(login: VolumeLogin, found: SecretObject, signal: AbortSignal): Promise<void> {
    const patch = patchFor(login, found);
    const { source = readLive(found).source } = login;
    // Recorded first: a patch without a response may have been applied.
    this.#ours.set(print({ credentials: login.credentials, source }), true);
    await this.#options.api.patch(patch, signal);
  }
}

function print({ credentials, source }: LiveLogin): string {
  return `${credentials?.digest ?? ''} ${source?.digest ?? ''}`;
}
