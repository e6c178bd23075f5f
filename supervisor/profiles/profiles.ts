/**
 * The profiles of a running server: read at the start, and again when their file changes. The file
 * is read every second instead of watched: a ConfigMap is swapped by a symlink to a directory,
 * which watchers miss.
 * Invariant: a broken or absent file leaves the profiles unchanged, and is logged once.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { setInterval as every } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { asBerthError, BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Profile } from './profile.ts';
import {
  type Bounds,
  largestFile,
  type ProfileSet,
  readProfiles,
  type TokenSettings,
  withoutFile,
} from './read.ts';
import { secretDigest } from './secret-digest.ts';

export interface ProfilesOptions extends Bounds {
  /** The YAML file; undefined: only the built-in profile. */
  path: string | undefined;
  log: Log;
  /** Milliseconds between two reads. */
  interval?: number;
}

/** For /v1/status. */
export interface ProfilesStatus {
  names: string[];
  /** The first digits of the SHA-256 of the file in effect; null without a file. */
  revision: string | null;
  /** ISO 8601. */
  loaded_at: string;
  /** Why the current file is not in effect. */
  problem: string | null;
}

const noToken: TokenSettings = {
  defaultProfile: undefined,
  dailyBudgetUsd: undefined,
  admin: false,
};

export class Profiles {
  readonly #options: ProfilesOptions;
  readonly #listeners = new Set<() => void>();
  readonly #closing = new AbortController();
  #set: ProfileSet;
  #revision: string | null = null;
  #loadedAt = new Date();
  /** The last text that was read, valid or not. */
  #seen: string | undefined;
  #problem: string | null = null;
  #watching: Promise<void> = Promise.resolve();

  private constructor(options: ProfilesOptions) {
    this.#options = options;
    this.#set = withoutFile(options);
  }

  /** @throws BerthError `config_invalid` if the file cannot be read or has problems */
  static async open(options: ProfilesOptions): Promise<Profiles> {
    const profiles = new Profiles(options);
    if (options.path === undefined) return profiles;
    await profiles.#take(await readText(options.path), options.path);
    profiles.#watching = profiles.#watch(options.path, options.interval ?? 1_000);
    return profiles;
  }

  get(name: string): Profile | undefined {
    return this.#set.profiles.get(name);
  }

  all(): Profile[] {
    return [...this.#set.profiles.values()];
  }

  /**
   * The profile of a request: the requested profile, otherwise the token's default, otherwise the
   * default.
   * @throws BerthError `profile_not_found` if the profile is unknown or not allowed for this token
   */
  forToken(token: string, requested: string | undefined): Profile {
    const name = requested ?? this.token(token).defaultProfile ?? this.#set.defaultProfile;
    const profile = this.get(name);
    if (profile && (profile.tokens?.includes(token) ?? true)) return profile;
    throw new BerthError(
      'profile_not_found',
      requested === undefined
        ? `cannot select a profile: the token ${token} may not use the default profile; name a profile with "profile", or give the token a default_profile in the profiles file`
        : `cannot use the profile ${JSON.stringify(name.slice(0, 64))}: the token ${token} may not use a profile of this name, or the profile does not exist; name another profile, or add it to the profiles file`,
    );
  }

  /** The settings of a token in the file. */
  token(name: string): TokenSettings {
    return this.#set.tokens.get(name) ?? noToken;
  }

  /**
   * Whether a token may pause and resume: tokens with that setting, or all tokens if none has it.
   */
  mayAdminister(name: string): boolean {
    const some = [...this.#set.tokens.values()].some(({ admin }) => admin);
    return !some || this.token(name).admin;
  }

  /** US dollars a day for all prompts. */
  get dailyBudgetUsd(): number | undefined {
    return this.#set.dailyBudgetUsd;
  }

  get status(): ProfilesStatus {
    return {
      names: [...this.#set.profiles.keys()],
      revision: this.#revision,
      loaded_at: this.#loadedAt.toISOString(),
      problem: this.#problem,
    };
  }

  /** Calls `listener` after each change; returns a function that stops this. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#listeners.clear();
    await this.#watching;
  }

  async #watch(path: string, interval: number): Promise<void> {
    const { signal } = this.#closing;
    try {
      for await (const _ of every(interval, undefined, { signal, ref: false })) {
        await this.#look(path);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #look(path: string): Promise<void> {
    try {
      await this.#take(await readText(path), path);
    } catch (thrown) {
      const error = asBerthError(thrown);
      if (error.message === this.#problem) return;
      this.#problem = error.message;
      this.#options.log.error('profiles_loaded', 'the profiles stay unchanged', { error });
    }
  }

  async #take(text: string, path: string): Promise<void> {
    if (text === this.#seen && this.#problem === null) return this.#renewSecrets();
    const revision = createHash('sha256').update(text).digest('hex').slice(0, 12);
    // A broken file that has not changed has the same problem again.
    const set = await this.#withDigests(readProfiles(text, path, this.#options));
    this.#seen = text;
    this.#problem = null;
    if (revision === this.#revision) return this.#renewSecrets();
    const changes = changesBetween(this.#set, set);
    this.#set = set;
    this.#revision = revision;
    this.#loadedAt = new Date();
    this.#options.log.info('profiles_loaded', `${set.profiles.size} profiles`, {
      names: [...set.profiles.keys()],
      revision,
      ...changes,
    });
    for (const warning of set.warnings) this.#options.log.warn('profiles_loaded', warning);
    for (const listener of this.#listeners) listener();
  }

  /** A rotated Secret renews the processes that have the old value. */
  async #renewSecrets(): Promise<void> {
    const set = await this.#withDigests(this.#set);
    const names = this.all().flatMap(({ name, secretDigest: before }) =>
      set.profiles.get(name)?.secretDigest === before ? [] : [name],
    );
    if (names.length === 0) return;
    this.#set = set;
    const text = 'files of the environment have changed: processes with the old values are renewed';
    this.#options.log.info('secrets_changed', text, { profiles: names });
    for (const listener of this.#listeners) listener();
  }

  async #withDigests(set: ProfileSet): Promise<ProfileSet> {
    const profiles = new Map<string, Profile>();
    for (const [name, profile] of set.profiles) {
      const digest = await secretDigest(profile, this.get(name)?.secretDigest);
      profiles.set(
        name,
        digest === profile.secretDigest ? profile : { ...profile, secretDigest: digest },
      );
    }
    return { ...set, profiles };
  }
}

function changesBetween(before: ProfileSet, after: ProfileSet): Record<string, string[]> {
  const old = [...before.profiles.keys()];
  const now = [...after.profiles.keys()];
  return {
    added: now.filter((name) => !before.profiles.has(name)),
    removed: old.filter((name) => !after.profiles.has(name)),
    changed: now.filter((name) => {
      const [one, other] = [before.profiles.get(name), after.profiles.get(name)];
      return one !== undefined && !isDeepStrictEqual(one, other);
    }),
  };
}

/** @throws BerthError `config_invalid` */
async function readText(path: string): Promise<string> {
  try {
    // Not readFileBounded: a mounted ConfigMap is a symlink, and it belongs to the operator, not to
    // the volume.
    const file = await open(path);
    try {
      const { size } = await file.stat();
      if (size > largestFile) throw new Error(`it is larger than ${largestFile} bytes`);
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new BerthError(
      'config_invalid',
      `cannot read the profiles: ${messageOf(error)}; mount the file that BERTH_PROFILES_FILE names`,
      { cause: error },
    );
  }
}
