/**
 * Each disturbance of the plan, done to a pod and its world. Returns when it is over: the pod runs again
 * and the servers are well. Invariants: the ledger hears of each kill and of each node that is lost.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubernetesFault } from '../support/kubernetes-api.ts';
import type { LoginFault } from '../support/login-server.ts';
import { until } from '../support/until.ts';
import type { Ledger } from './credentials-ledger.ts';
import type { Disturbance } from './credentials-plan.ts';
import type { Part, Pod } from './credentials-pod.ts';
import { readIfThere, secret, type World } from './credentials-world.ts';

const refreshMargin = 5 * 60_000;
const tenMinutes = 10 * 60_000;
/** Milliseconds that a server stays disturbed: a third of a day. */
const spell = 2_500;
/** Milliseconds after a refresh was answered, within which a shot falls. */
const shotWithin = 400;

interface Surroundings {
  /** Sends so many prompts at once. */
  send(count: number): void;
  problem(text: string): void;
}

export class Disturbing {
  readonly #world: World;
  readonly #pod: Pod;
  readonly #ledger: Ledger;
  readonly #surroundings: Surroundings;
  #onAnswer: (() => void) | undefined;

  constructor(world: World, pod: Pod, ledger: Ledger, surroundings: Surroundings) {
    this.#world = world;
    this.#pod = pod;
    this.#ledger = ledger;
    this.#surroundings = surroundings;
    world.onRequest = (request) => {
      if (request.granted === undefined) return;
      ledger.answered(request);
      this.#onAnswer?.();
    };
  }

  async cause(what: Disturbance, chance: number): Promise<void> {
    const shot = what.endsWith(' at a refresh');
    if (shot) await this.#refreshAnswered(chance);
    await this.#do(shot ? what.slice(0, -' at a refresh'.length) : what, chance);
  }

  /** A person sees that the login is lost, and brings another. */
  async logInAfterLoss(): Promise<void> {
    if (this.#pod.followsSource) {
      const outcomes: string[] = [];
      const isTold = async (): Promise<boolean> => {
        const outcome = await this.#pod.prompt();
        outcomes.push(outcome);
        // Where a new login is refused the one before it is put back, and that may still be good.
        const inUse = this.#world.login.logins.ownerOf(this.#ledger.lookAtFile() ?? '');
        const continues = outcome === 'ok' && inUse !== undefined && !inUse.revoked;
        return outcome === 'login_required' || continues;
      };
      await until('the loss is told', isTold, 60_000).catch((error: Error) =>
        this.#surroundings.problem(`${error.message}; prompts end as ${outcomes.join()}`),
      );
    }
    await this.#logIn();
  }

  async #do(what: string, chance: number): Promise<void> {
    const { kubernetes } = this.#world;
    switch (what) {
      case 'restart':
        return this.#restart();
      case 'restart, volume lost':
        return this.#restart(() => this.#loseVolume());
      case 'pod killed':
        await this.#kill();
        return this.#pod.start();
      case 'node lost':
        await this.#kill();
        this.#ledger.afterNodeLoss();
        this.#loseVolume();
        return this.#pod.start();
      case 'supervisor killed':
        return this.#kill('supervisor');
      case 'worker killed':
        return this.#kill('one worker');
      case 'write-back killed':
        return this.#kill('write-back');
      case 'init killed':
        await this.#pod.stop();
        return this.#pod.start(chance * 400);
      case 'new login':
        return this.#logIn();
      case 'new login while it is down':
        return this.#restart(() => void this.#world.logIn());
      case 'login server answers 500':
        return this.#disturbLogin({ kind: 'status', status: 500 });
      case 'login server answers 429':
        return this.#disturbLogin({ kind: 'status', status: 429 });
      case 'login server hangs':
        return this.#disturbLogin({ kind: 'hang' });
      case 'login server refuses':
        return this.#refuse(chance);
      case 'clock 10 minutes ahead':
        return this.#restart(() => {
          this.#shiftExpiry(tenMinutes);
          // By its own clock the tokens that it gave out have ended.
          this.#world.skew += tenMinutes;
        });
      case 'clock 10 minutes behind':
        return this.#restart(() => this.#shiftExpiry(-tenMinutes));
      case 'Secret deleted':
        return this.#trouble(async () => {
          kubernetes.secrets.delete(secret.namespace, secret.name);
          await this.#refreshesFor(spell);
          kubernetes.secrets.put(secret.namespace, secret.name, {});
          // It is filled at the next refresh, or at a look every five minutes, which is half a day here.
          await this.#refreshesFor(spell);
        });
      case 'Secrets malformed':
        return this.#trouble(async () => {
          this.#world.provide('{"claudeAiOauth":');
          kubernetes.secrets.put(secret.namespace, secret.name, { [secret.key]: 'not a login' });
          await this.#restart();
          this.#world.provide();
        });
      case 'Kubernetes API away':
        return this.#disturbKubernetes({ kind: 'drop' });
      case 'Kubernetes API answers 409':
        return this.#disturbKubernetes({ kind: 'status', status: 409, method: 'PATCH' });
      case 'Kubernetes API answers 403':
        return this.#disturbKubernetes({ kind: 'status', status: 403 });
      default:
        throw new Error(`no such disturbance: ${what}`);
    }
  }

  async #restart(meanwhile: () => void = () => {}): Promise<void> {
    await this.#pod.stop();
    meanwhile();
    await this.#pod.start();
  }

  async #kill(...parts: Part[]): Promise<void> {
    const since = Date.now();
    await this.#pod.kill(...parts);
    // The sidecar stores no refresh: its end excuses none that is missing.
    if (parts.join() !== 'write-back') this.#ledger.afterKill(since);
    if (parts.length > 0) await this.#pod.restart();
  }

  #loseVolume(): void {
    this.#ledger.lookAtFile();
    rmSync(this.#pod.volume, { recursive: true });
    mkdirSync(this.#pod.volume);
    this.#ledger.watch();
  }

  async #logIn(): Promise<void> {
    const login = this.#world.logIn();
    if (!this.#pod.followsSource) return this.#restart();
    const { logins } = this.#world.login;
    const isTaken = () => logins.ownerOf(this.#ledger.lookAtFile() ?? '')?.id === login;
    await until('the new login is taken', isTaken, 60_000).catch((error: Error) =>
      this.#surroundings.problem(error.message),
    );
  }

  /** Waits until the token is due and refreshed, and then up to a moment that is drawn. */
  async #refreshAnswered(chance: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    await this.#due();
    this.#onAnswer = resolve;
    this.#surroundings.send(2);
    await Promise.race([promise, delay(5_000)]);
    this.#onAnswer = undefined;
    await delay(chance ** 2 * shotWithin);
  }

  /** Returns when the access token is to be refreshed, or when that is not to be expected. */
  async #due(): Promise<void> {
    const isDue = (): boolean => {
      const file = this.#file();
      return Number(file.claudeAiOauth?.expiresAt ?? 0) - refreshMargin <= Date.now();
    };
    await until('the token is due', isDue, spell).catch(() => {});
  }

  /** The old script copies a malformed one to the volume. */
  #file() {
    try {
      return JSON.parse(readIfThere(this.#path) ?? '{}');
    } catch {
      return {};
    }
  }

  get #path(): string {
    return join(this.#pod.volume, '.credentials.json');
  }

  /** For that many milliseconds tokens are refreshed, or tried to be. */
  async #refreshesFor(milliseconds: number): Promise<void> {
    const over = delay(milliseconds);
    await this.#due();
    this.#surroundings.send(2);
    await over;
  }

  async #disturbLogin(fault: LoginFault): Promise<void> {
    this.#world.login.fault(fault);
    await this.#refreshesFor(spell);
    this.#world.login.fault(undefined);
  }

  /** For good, as when the login was ended elsewhere, or once without a reason. */
  async #refuse(chance: number): Promise<void> {
    const { login } = this.#world;
    const newest = login.logins.all.at(-1);
    if (!newest) return;
    await this.#due();
    this.#ledger.refused.add(newest.refreshToken);
    if (chance < 0.5) newest.revoked = 'by hand';
    else login.fault({ kind: 'invalid_grant', times: 1 });
    await this.#refreshesFor(spell);
    login.fault(undefined);
    if (!newest.revoked && this.#ledger.refused.has(newest.refreshToken))
      newest.revoked = 'by hand';
  }

  async #disturbKubernetes(fault: KubernetesFault): Promise<void> {
    await this.#trouble(async () => {
      this.#world.kubernetes.fault(fault);
      await this.#refreshesFor(spell);
      this.#world.kubernetes.fault(undefined);
    });
  }

  async #trouble(during: () => Promise<void>): Promise<void> {
    const trouble = { from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#ledger.troubles.push(trouble);
    await during();
    trouble.to = Date.now();
  }

  /** As if the file had been written where the clock is wrong by that much. */
  #shiftExpiry(by: number): void {
    const file = this.#file();
    if (!file.claudeAiOauth?.accessToken) return;
    file.claudeAiOauth.expiresAt += by;
    writeFileSync(this.#path, JSON.stringify(file), { mode: 0o600 });
  }
}
