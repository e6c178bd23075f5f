/**
 * The pool against every order of events that fast-check thinks of: prompts come and go, turns end,
 * processes start, fail, die. The processes are fakes, so that each moment can be looked at.
 */
import { mock } from 'node:test';
import fc from 'fast-check';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { ProcessEnd } from '../../../supervisor/claude/child.ts';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { Pool } from '../../../supervisor/pool/pool.ts';
import type { ProcessSpec } from '../../../supervisor/pool/process-spec.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';
import { captureLog } from '../../support/captured-log.ts';

interface FakeProcess {
  name: string;
  alive: boolean;
  stopping: boolean;
  prepared: PromiseWithResolvers<void>;
  end: () => void;
}

/** Ways in which a profile may want its processes. */
const profiles = {
  plain: { once: false, own: false },
  /** Of the profile `plain` too, but with flags of a request; a shared spare can serve it. */
  changed: { once: false, own: true, spare: { key: 'shared', bind: async () => {} } },
  budget: { once: true, own: false },
  shared: { once: false, own: false, shared: true },
};
type Profile = keyof typeof profiles;

interface Caller {
  profile: Profile;
  token: string;
  sessionId: string | undefined;
  leaving: AbortController;
  worker: Worker | undefined;
  settled: boolean;
}

/** Lets everything that is due happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Model {
  readonly limits: { warmWorkers: number; maxWorkers: number; queueLimit: number };
  readonly pool: Pool;
  /** So many workers memory allows. */
  ceiling = Number.POSITIVE_INFINITY;
  readonly processes: FakeProcess[] = [];
  readonly callers: Caller[] = [];
  /** Sessions that were begun; workers that have served somebody. */
  readonly sessions: string[] = [];
  readonly profileOf = new Map<string, Profile>();
  readonly served = new Set<Worker>();
  readonly inOrder: Caller[] = [];

  constructor(limits: Model['limits']) {
    this.limits = limits;
    const { warmWorkers } = limits;
    const warm = [
      { spec: this.#specOf('plain', undefined), count: warmWorkers },
      { spec: this.#specOf('budget', undefined), count: warmWorkers > 2 ? 1 : 0 },
      { spec: this.#specOf('shared', undefined), count: warmWorkers % 2, optional: true },
    ];
    this.pool = new Pool({
      ...limits,
      warm: () => warm,
      ceiling: () => this.ceiling,
      idleTimeout: 60_000,
      prepare: (process) => (process as unknown as { prepared: Promise<void> }).prepared,
      clearAway: async () => {},
      log: captureLog().log,
    });
    this.pool.start();
  }

  #specOf(profile: Profile, sessionId: string | undefined): ProcessSpec {
    return {
      profile: profile === 'budget' ? profile : 'plain',
      key: profile,
      sessionId,
      resumes: sessionId !== undefined,
      ...profiles[profile],
      launch: (name) => this.#launch(name),
    };
  }

  #launch(name: string): ClaudeProcess {
    const ended = Promise.withResolvers<ProcessEnd>();
    const prepared = Promise.withResolvers<void>();
    const fake: FakeProcess = {
      name,
      alive: true,
      stopping: false,
      prepared,
      end: () => {
        fake.alive = false;
        const error = new BerthError('cli_unavailable', 'cannot: it has ended');
        prepared.reject(error);
        ended.resolve({ exitCode: 1, signal: null, stderr: '' });
      },
    };
    this.processes.push(fake);
    return {
      pid: this.processes.length,
      background: [],
      get alive() {
        return fake.alive;
      },
      ended: ended.promise,
      prepared: prepared.promise,
      stop: () => {
        fake.stopping = true;
        return ended.promise;
      },
    } as unknown as ClaudeProcess;
  }

  get living(): FakeProcess[] {
    return this.processes.filter(({ alive }) => alive);
  }

  /** A session goes on with the profile that it began with. */
  prompt(sessionId: string | undefined, profile: Profile = 'plain', token = 'one'): void {
    const caller: Caller = {
      profile: this.profileOf.get(sessionId ?? '') ?? profile,
      token,
      sessionId,
      leaving: new AbortController(),
      worker: undefined,
      settled: false,
    };
    this.callers.push(caller);
    const acquired = this.pool.acquire({
      spec: this.#specOf(caller.profile, sessionId),
      token,
      signal: caller.leaving.signal,
      onQueued: () => {},
    });
    acquired.then(
      (worker) => this.#serve(caller, worker),
      () => {
        caller.settled = true;
      },
    );
  }

  #serve(caller: Caller, worker: Worker): void {
    caller.settled = true;
    caller.worker = worker;
    this.inOrder.push(caller);
    const { key, once } = worker.spec;
    if (key !== caller.profile) throw new Error(`a ${key} process serves ${caller.profile}`);
    if (once && worker.turns > 1) throw new Error(`${worker.name} serves a second turn`);
    if (caller.sessionId === undefined) {
      if (this.served.has(worker)) throw new Error(`${worker.name} has served somebody before`);
      worker.sessionId = `session-${this.sessions.length}`;
      this.sessions.push(worker.sessionId);
      this.profileOf.set(worker.sessionId, caller.profile);
    } else if (worker.sessionId !== caller.sessionId) {
      throw new Error(`${worker.name} serves ${worker.sessionId}, not ${caller.sessionId}`);
    }
    this.served.add(worker);
  }

  finish(caller: Caller, usable: boolean): void {
    if (!caller.worker) return;
    this.pool.release(caller.worker, usable);
    caller.worker = undefined;
  }

  get running(): Caller[] {
    return this.callers.filter(({ worker }) => worker !== undefined);
  }

  get waiting(): Caller[] {
    return this.callers.filter(({ settled }) => !settled);
  }

  /** What the heads of pool.ts and worker.ts promise. */
  check(): void {
    const { maxWorkers, queueLimit } = this.limits;
    // Who waits for a worker that is starting does not count when it comes.
    const most = queueLimit + maxWorkers;
    const living = this.living.length;
    if (living > maxWorkers) throw new Error(`${living} processes, ${maxWorkers} are allowed`);
    if (this.pool.queued > most) throw new Error(`${this.pool.queued} are waiting`);
    const owned = this.pool.workers.flatMap(({ sessionId }) => sessionId ?? []);
    if (new Set(owned).size < owned.length) throw new Error(`two processes for one of ${owned}`);
    const held = this.running.map(({ worker }) => worker);
    if (new Set(held).size < held.length) throw new Error('two turns on one worker');
    this.#checkOrder();
  }

  #checkOrder(): void {
    for (const session of this.sessions) {
      const asked = this.callers.filter(({ sessionId }) => sessionId === session);
      const order = this.inOrder.filter(({ sessionId }) => sessionId === session);
      const expected = asked.filter((caller) => order.includes(caller));
      if (order.some((caller, index) => caller !== expected[index])) {
        throw new Error(`${session} was not served in order`);
      }
    }
  }

  /** However much has failed before: when starting works again a new prompt is served. */
  async recover(): Promise<void> {
    for (let attempt = 0; attempt < 3; attempt++) {
      const before = this.inOrder.length;
      this.prompt(undefined);
      await settle();
      await this.finishAll();
      if (this.inOrder.length > before) return;
      mock.timers.tick(30_000);
    }
    throw new Error('it does not recover');
  }

  /** Everything goes well from now on: nobody may be left waiting. */
  async finishAll(): Promise<void> {
    for (let round = 0; this.waiting.length + this.running.length > 0; round++) {
      if (round > 500) throw new Error(`${this.waiting.length} wait for ever`);
      for (const process of this.living) {
        if (process.stopping) process.end();
        else process.prepared.resolve();
      }
      for (const caller of this.running) this.finish(caller, true);
      mock.timers.tick(1_000);
      await settle();
      this.check();
    }
  }

  async stop(): Promise<void> {
    const stopped = this.pool.stop();
    for (const process of this.living) process.end();
    await stopped;
    if (this.living.length + this.pool.workers.length > 0) throw new Error('something is left');
  }
}

type Step = (model: Model, pick: number) => void;

const choose = <T>(items: readonly T[], pick: number): T | undefined => items[pick % items.length];

const steps: Record<string, Step> = {
  promptNew: (model, pick) => model.prompt(undefined, 'plain', pick % 2 ? 'one' : 'two'),
  promptChanged: (model) => model.prompt(undefined, 'changed'),
  promptBudget: (model) => model.prompt(undefined, 'budget'),
  promptSession: (model, pick) => {
    const session = choose(model.sessions, pick);
    if (session !== undefined) model.prompt(session);
  },
  leave: (model, pick) => choose(model.waiting, pick)?.leaving.abort(new Error('gone')),
  finish: (model, pick) => {
    const caller = choose(model.running, pick);
    if (caller) model.finish(caller, true);
  },
  finishBadly: (model, pick) => {
    const caller = choose(model.running, pick);
    if (caller) model.finish(caller, false);
  },
  ready: (model, pick) => choose(model.living, pick)?.prepared.resolve(),
  refuse: (model, pick) =>
    choose(model.living, pick)?.prepared.reject(new BerthError('cli_unavailable', 'cannot: no')),
  die: (model, pick) => choose(model.living, pick)?.end(),
  stopped: (model, pick) =>
    choose(
      model.living.filter(({ stopping }) => stopping),
      pick,
    )?.end(),
  recycle: (model, pick) => {
    const worker = choose(model.pool.workers, pick);
    if (worker) void model.pool.recycle(worker, 'memory');
  },
  squeeze: (model, pick) => {
    model.ceiling = Math.max(1, pick % 4);
  },
  relieve: (model) => {
    model.ceiling = Number.POSITIVE_INFINITY;
    model.pool.reconsider();
  },
  time: () => mock.timers.tick(500),
};

const limits = fc
  .record({
    maxWorkers: fc.integer({ min: 1, max: 4 }),
    warmWorkers: fc.integer({ min: 0, max: 4 }),
    queueLimit: fc.integer({ min: 0, max: 6 }),
  })
  .filter(({ warmWorkers, maxWorkers }) => warmWorkers <= maxWorkers);

const script = fc.array(
  fc.tuple(
    // What goes well comes more often, so that there is something to go wrong.
    fc.constantFrom(
      ...Object.keys(steps),
      'promptNew',
      'promptSession',
      'ready',
      'ready',
      'ready',
      'finish',
      'stopped',
    ),
    fc.nat({ max: 20 }),
  ),
  { maxLength: 60, size: 'max' },
);

t.test(
  'for any sequence of events the pool keeps its invariants, and no caller waits forever',
  async (t) => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
    t.teardown(() => mock.timers.reset());
    const property = fc.asyncProperty(limits, script, async (bounds, events) => {
      const model = new Model(bounds);
      for (const [name, pick] of events) {
        steps[name]?.(model, pick);
        model.check();
        await settle();
        model.check();
      }
      await model.finishAll();
      await model.stop();
    });
    await fc.assert(property, { seed: 20_261, numRuns: 1_000 });
    t.pass('it did');
  },
);
