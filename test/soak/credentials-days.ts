/**
 * Spends simulated days with a pod: prompts, and what the plan deals; looks at whether the login lives,
 * and if it does not, at why. After a loss a person logs in, and the days go on.
 * Invariants: disturbances come one after the other, prompts beside them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../support/until.ts';
import { Disturbing } from './credentials-disturb.ts';
import { type Cause, Ledger } from './credentials-ledger.ts';
import type { Disturbance, Planned } from './credentials-plan.ts';
import type { Pod } from './credentials-pod.ts';
import { dueAfter, liveSecret, refreshTokenIn, secret, type World } from './credentials-world.ts';

/** Three access tokens a day, as with the real ones of eight hours; in ms. */
const dayLasts = 3 * (dueAfter + 500);
/** Milliseconds in which a pod must show that it has a login; generous, for slow machines. */
const patience = 60_000;

export interface Loss {
  /** From 1. */
  day: number;
  cause: Cause;
  /** What came last before it. */
  after: Disturbance | 'prompts';
}

export interface Days {
  losses: Loss[];
  /** How prompts ended, each with its number. */
  outcomes: Map<string, number>;
  ledger: Ledger;
  /** What is wrong besides lost logins; empty if all is well. */
  problems: string[];
}

export async function spendDays(options: {
  world: World;
  pod: Pod;
  plan: readonly Planned[][];
  onDay?: (day: number, losses: readonly Loss[]) => void;
}): Promise<Days> {
  const { world, pod, plan, onDay = () => {} } = options;
  const life = new Life(world, pod);
  try {
    await life.begin();
    for (const [index, day] of plan.entries()) {
      await life.spend(day, index + 1);
      onDay(index + 1, life.losses);
    }
    return await life.end();
  } finally {
    life.ledger.close();
    await pod.kill();
  }
}

class Life {
  readonly losses: Loss[] = [];
  readonly ledger: Ledger;
  readonly #world: World;
  readonly #pod: Pod;
  readonly #disturbing: Disturbing;
  readonly #outcomes = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #day = 0;
  #last: Planned['what'] = 'prompts';

  constructor(world: World, pod: Pod) {
    this.#world = world;
    this.#pod = pod;
    this.ledger = new Ledger(world, pod.volume);
    this.#disturbing = new Disturbing(world, pod, this.ledger, {
      send: (count) => this.#send(count),
      problem: (text) => this.#problem(text),
    });
  }

  async begin(): Promise<void> {
    this.#world.logIn();
    this.ledger.watch();
    await this.#pod.start();
  }

  async spend(planned: readonly Planned[], day: number): Promise<void> {
    this.#day = day;
    const began = Date.now();
    for (const { what, at, chance } of planned) {
      await delay(Math.max(0, began + at * dayLasts - Date.now()));
      this.#last = what;
      if (what === 'prompts') this.#send(1 + Math.floor(chance * 3));
      else await this.#disturbing.cause(what, chance);
      await this.#mourn();
    }
    await delay(Math.max(0, began + dayLasts - Date.now()));
    await Promise.all(this.#underWay);
    await this.#mourn();
    await this.#lookAround();
    this.ledger.lookAtSecret();
  }

  async end(): Promise<Days> {
    const last = this.ledger.lookAtFile();
    if (this.#pod.followsSource) {
      const isThere = () => refreshTokenIn(liveSecret(this.#world)[secret.key]) === last;
      await until('the last login is in the Secret', isThere, patience).catch((error: Error) =>
        this.#problem(error.message),
      );
    }
    await this.#pod.stop();
    this.ledger.lookAtSecret();
    const { losses, ledger } = this;
    return { losses, ledger, outcomes: this.#outcomes, problems: this.#problems };
  }

  #send(count: number): void {
    for (let sent = 0; sent < count; sent++) {
      const answer = this.#pod.prompt().then((outcome) => this.#count(outcome));
      this.#underWay.add(answer);
      void answer.finally(() => this.#underWay.delete(answer));
    }
  }

  #count(outcome: string): void {
    this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1);
  }

  get #newest() {
    return this.#world.login.logins.all.at(-1);
  }

  /** If the login is lost: notes why, and a person logs in. */
  async #mourn(): Promise<void> {
    const login = this.#newest;
    if (!login?.revoked) return;
    await this.#bury(login.id);
  }

  async #bury(login: number): Promise<void> {
    const cause = this.ledger.causeOf(login);
    this.losses.push({ day: this.#day, cause, after: this.#last });
    await this.#disturbing.logInAfterLoss();
  }

  /** At the end of a day all is quiet: prompts are answered, by the login that came last. */
  async #lookAround(): Promise<void> {
    let outcome = '';
    const began = Date.now();
    // Without a source no login comes by itself.
    const isLost = (): boolean =>
      !this.#pod.followsSource && outcome === 'login_required' && Date.now() - began > 5_000;
    const isDecided = async (): Promise<boolean> => {
      if (outcome) await delay(200);
      outcome = await this.#pod.prompt();
      return outcome === 'ok' || this.#newest?.revoked !== undefined || isLost();
    };
    await until('a prompt is answered', isDecided, patience).catch(() => undefined);
    this.#count(outcome);
    if (this.#newest?.revoked) return this.#mourn();
    if (outcome !== 'ok') {
      if (outcome !== 'login_required' && this.#pod.followsSource) {
        this.#problem(`prompts end as ${outcome}`);
      }
      return this.#bury(this.#newest?.id ?? 0);
    }
    const inUse = this.#world.login.logins.ownerOf(this.ledger.lookAtFile() ?? '')?.id;
    if (this.#pod.followsSource && inUse !== this.#newest?.id) {
      this.#problem(`login ${inUse} is in use, though a person has brought ${this.#newest?.id}`);
    }
  }

  #problem(text: string): void {
    this.#problems.push(`day ${this.#day}, after ${this.#last}: ${text}`);
  }
}
