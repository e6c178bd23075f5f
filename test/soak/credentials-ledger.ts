/**
 * What became of each refresh token: when the login server gave it out, when the file had it, when
 * berth's Secret had it; and from that, why a login was lost.
 * Invariants: a loss counts as one that nobody can prevent only if it was seen, at the moment of a kill
 * or of a node's end, that the token was nowhere else. Whoever was told to stop had the time to keep it.
 */
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import type { KubernetesRequest } from '../support/kubernetes-api.ts';
import type { TokenRequest } from '../support/login-server.ts';
import {
  liveSecret,
  readIfThere,
  refreshTokenIn,
  secret,
  type World,
} from './credentials-world.ts';

export type Cause =
  /** The answer was on its way to the file when its process was killed. */
  | 'killed before it was stored'
  /** The volume went with its node before its last refresh was in the Secret. */
  | 'volume lost before write-back'
  /** The login server refused it of its own accord. */
  | 'refused'
  /** None of these: a fault of who should have kept it. */
  | 'unexplained';

export interface Refresh {
  login: number;
  token: string;
  /** By Date.now(), as are the others. */
  answered: number;
  inFile?: number;
  inSecret?: number;
  /** A process that could have been storing it was killed, and the file did not have it then. */
  killed?: boolean;
  /** The node was lost with it, when the Secret did not have it. */
  gone?: boolean;
}

export class Ledger {
  readonly refreshes: Refresh[] = [];
  /** Times from and to, in which the Kubernetes API or the Secret was disturbed. */
  readonly troubles: { from: number; to: number }[] = [];
  /** Refresh tokens that the login server was told to refuse. */
  readonly refused = new Set<string>();
  readonly #world: World;
  readonly #volume: string;
  readonly #known = new Map<string, Refresh>();
  #watcher: FSWatcher | undefined;
  #read = 0;

  constructor(world: World, volume: string) {
    this.#world = world;
    this.#volume = volume;
  }

  /** Call it whenever the volume was made. */
  watch(): void {
    this.#watcher?.close();
    this.#watcher = watch(this.#volume, (_, name) => {
      if (name === '.credentials.json') this.lookAtFile();
    });
    this.#watcher.on('error', () => this.#watcher?.close());
    this.lookAtFile();
  }

  close(): void {
    this.#watcher?.close();
  }

  answered({ granted, refreshToken }: TokenRequest): void {
    if (granted === undefined) return;
    const login = this.#world.login.logins.ownerOf(refreshToken)?.id ?? 0;
    const refresh = { login, token: granted, answered: Date.now() };
    this.refreshes.push(refresh);
    this.#known.set(granted, refresh);
  }

  /** The refresh token that the file has now. */
  lookAtFile(): string | undefined {
    const token = refreshTokenIn(readIfThere(join(this.#volume, '.credentials.json')));
    const refresh = this.#known.get(token ?? '');
    if (refresh) refresh.inFile ??= Date.now();
    return token;
  }

  /** Notes what the Secret has had since the last look. */
  lookAtSecret(): void {
    const { requests } = this.#world.kubernetes;
    for (; this.#read < requests.length; this.#read++) {
      const request = requests[this.#read] as KubernetesRequest;
      if (request.status === undefined) return;
      if (request.method !== 'PATCH' || request.status !== 200) continue;
      const token = patchedToken(request.body);
      const reached = this.refreshes.findIndex((each) => each.token === token);
      for (const refresh of this.refreshes.slice(0, reached + 1)) {
        if (refresh.login === this.refreshes[reached]?.login) refresh.inSecret ??= request.received;
      }
    }
  }

  /** Call it when killed processes are gone. @param since when the first of them was alive still */
  afterKill(since: number): void {
    this.lookAtFile();
    for (const refresh of this.refreshes) {
      const underWay = refresh.inFile === undefined && refresh.answered > since - 5_000;
      if (underWay) refresh.killed = true;
    }
  }

  /** Call it when a node's processes were all killed, before its volume goes. */
  afterNodeLoss(): void {
    const refresh = this.#known.get(this.lookAtFile() ?? '');
    if (refresh && refreshTokenIn(liveSecret(this.#world)[secret.key]) !== refresh.token) {
      refresh.gone = true;
    }
  }

  /** Why a login that cannot be used any more is lost. */
  causeOf(login: number): Cause {
    const found = this.#world.login.logins.all.find(({ id }) => id === login);
    if (!found) return 'unexplained';
    if (found.revoked === 'by hand' || this.refused.has(found.refreshToken)) return 'refused';
    const last = this.#known.get(found.refreshToken);
    if (found.revoked === 'reuse' && last?.inFile === undefined && last?.killed) {
      return 'killed before it was stored';
    }
    if (last?.gone) return 'volume lost before write-back';
    return 'unexplained';
  }

  /** Milliseconds from the login server's answer to the file. */
  get untilStored(): number[] {
    return this.refreshes.flatMap(({ answered, inFile }) =>
      inFile === undefined ? [] : [inFile - answered],
    );
  }

  /**
   * Milliseconds from the login server's answer until berth's Secret had it or a later one of that login.
   * @param troubled those with the Kubernetes API disturbed in between, or the others
   */
  untilWrittenBack(troubled: boolean): number[] {
    return this.refreshes.flatMap(({ answered, inSecret }) => {
      if (inSecret === undefined) return [];
      const between = this.troubles.some(({ from, to }) => from <= inSecret && to >= answered);
      return between === troubled ? [inSecret - answered] : [];
    });
  }
}

function patchedToken(body: string): string | undefined {
  try {
    const { data = {}, stringData = {} } = JSON.parse(body);
    const encoded = data[secret.key];
    const text = encoded ? Buffer.from(encoded, 'base64').toString('utf8') : stringData[secret.key];
    return refreshTokenIn(text);
  } catch {
    return undefined;
  }
}
