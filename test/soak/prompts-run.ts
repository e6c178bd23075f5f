/**
 * Sends mixed prompts to a supervisor with four workers, kills workers at moments that a seed
 * decides, and looks at what comes of each prompt and what is left at the end.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { realClaude } from '../support/claude.ts';
import { processesOf } from '../support/processes.ts';
import type { LogLine } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { Canaries, Conversation } from './prompts-canaries.ts';
import { type Received, sendPrompt } from './prompts-client.ts';
import {
  badRequests,
  continues,
  directivesOf,
  type Kind,
  kinds,
  lossCodes,
  pickKind,
  wantedCode,
} from './prompts-mix.ts';
import { type AtRest, profiles, type Scene, startScene } from './prompts-scene.ts';
import { Random } from './random.ts';

export interface Outcome {
  kind: Kind;
  /** `ok`, a code, `left` of a client that went away, or `none`. */
  ended: string;
  /** Carried on in another process. */
  recycled: boolean;
  milliseconds: number;
}

export interface Summary {
  outcomes: Outcome[];
  kills: number;
  /** Of workers in the middle of a turn. */
  busyKills: number;
  /** Requests at the stand-in API that were searched for canaries. */
  looked: number;
  before: AtRest;
  after: AtRest;
  /** What is wrong; empty if all is well. */
  problems: string[];
}

interface Session {
  id: string;
  token: number;
  conversation: Conversation;
  /** Prompts to it that are on their way. */
  running: number;
}

/** The default number of prompts at once: twice as many as there are workers, and some. */
const usualLanes = 10;
/** One kill for so many prompts. */
const promptsOfKill = 15;
/** Milliseconds after which a prompt has surely been taken. */
const surelyTaken = 1_500;

/** Milliseconds between two kills at random, at most: workers are killed while they start, too. */
const longestBetweenKills = 3_000;

export interface RunOptions {
  /** An empty one, for everything that is made. */
  directory: string;
  seed: number;
  /** So many; or as many as come while so many workers are killed, at any moment and in any state. */
  until: { prompts: number } | { kills: number };
  /** The executable of the CLI; by default the real one. */
  cli?: string;
  /** Prompts at once. */
  lanes?: number;
  /** Sends the kinds in turn, instead of by their shares. */
  inTurn?: boolean;
  onOutcome?: (outcome: Outcome, problem: string | undefined) => void;
}

export async function runPrompts(options: RunOptions): Promise<Summary> {
  const finished = new Map<string, LogLine[]>();
  const scene = await startScene(options.directory, options.cli ?? realClaude, (line) => {
    if (line.event !== 'turn_finished') return;
    const trace = String(line.trace_id);
    finished.set(trace, [...(finished.get(trace) ?? []), line]);
  });
  const soak = new Soak(scene, new Random(options.seed), finished, options);
  try {
    return await soak.run(options.until, new Random(options.seed + 1));
  } finally {
    scene.program.kill('SIGKILL');
    await scene.program.ended;
    await scene.agent.close();
    await scene.api.close();
  }
}

class Soak {
  readonly #scene: Scene;
  readonly #random: Random;
  readonly #finished: ReadonlyMap<string, LogLine[]>;
  readonly #lanes: number;
  readonly #inTurn: boolean;
  readonly #onOutcome: (outcome: Outcome, problem: string | undefined) => void;
  readonly #canaries = new Canaries();
  readonly #sessions: Session[] = [];
  readonly #outcomes: Outcome[] = [];
  readonly #problems: string[] = [];
  /** Codes with which any prompt may end. */
  #allowed: ReadonlySet<string> = lossCodes;
  #sent = 0;
  #kills = 0;
  #busyKills = 0;

  constructor(
    scene: Scene,
    random: Random,
    finished: ReadonlyMap<string, LogLine[]>,
    { lanes = usualLanes, inTurn = false, onOutcome = () => {} }: RunOptions,
  ) {
    this.#scene = scene;
    this.#random = random;
    this.#finished = finished;
    this.#lanes = lanes;
    this.#inTurn = inTurn;
    this.#onOutcome = onOutcome;
    scene.api.reply((request) => {
      this.#canaries.look(request);
      return undefined;
    });
  }

  async run(until: RunOptions['until'], moments: Random): Promise<Summary> {
    const { rest, program, volume } = this.#scene;
    await this.#warmUp();
    const before = await rest();
    if ('prompts' in until) await this.#sendAll(until.prompts);
    else await this.#sendWhileKilling(until.kills, moments);
    const after = await this.#settled(before);
    this.#problems.push(...this.#canaries.leaks);
    if (after.descriptors > before.descriptors) {
      this.#problems.push(`${before.descriptors} descriptors became ${after.descriptors}`);
    }
    if (after.strays > 0) this.#problems.push(`${after.strays} processes are left`);
    program.kill('SIGTERM');
    const ended = await program.ended;
    if (ended !== 0) this.#problems.push(`the supervisor ended with ${ended}`);
    const orphans = processesOf(volume).length;
    if (orphans > 0) this.#problems.push(`${orphans} processes outlived the supervisor`);
    return {
      outcomes: this.#outcomes,
      kills: this.#kills,
      busyKills: this.#busyKills,
      looked: this.#canaries.looked,
      before,
      after,
      problems: this.#problems,
    };
  }

  async #sendAll(prompts: number): Promise<void> {
    const lane = async (): Promise<void> => {
      while (this.#sent < prompts) {
        this.#sent += 1;
        const serial = this.#sent;
        if (serial % promptsOfKill === 0) await this.#kill(this.#random.below(4) > 0);
        await this.#prompt(serial);
      }
    };
    await Promise.all(Array.from({ length: this.#lanes }, lane));
  }

  async #sendWhileKilling(kills: number, moments: Random): Promise<void> {
    // Three that were killed before their first prompt count as a CLI that does not start.
    this.#allowed = new Set([...lossCodes, 'cli_unavailable']);
    let over = false;
    const lane = async (): Promise<void> => {
      while (!over) await this.#prompt(++this.#sent);
    };
    const sending = Promise.all(Array.from({ length: this.#lanes }, lane));
    while (this.#kills < kills) {
      await delay(moments.below(longestBetweenKills));
      await this.#kill(false);
    }
    over = true;
    await sending;
  }

  /** What is opened once is open before anything is counted. */
  async #warmUp(): Promise<void> {
    const { agent, url, tokens } = this.#scene;
    const sent = [false, true].map((events) =>
      sendPrompt({
        ...{ agent, url, events, token: tokens[0] as string },
        body: { prompt: '[[say hello]]' },
        traceId: 'f'.repeat(32),
      }),
    );
    for (const { finals } of await Promise.all(sent)) {
      if (finals[0]?.result !== 'hello') throw new Error(JSON.stringify(finals));
    }
    await this.#hangUp();
  }

  /** Kept connections are descriptors of the supervisor too. */
  async #hangUp(): Promise<void> {
    await this.#scene.renewAgent();
  }

  /** Sockets close a little later than the prompts end. */
  async #settled(before: AtRest): Promise<AtRest> {
    await this.#hangUp();
    let after = await this.#scene.rest();
    await until('the descriptors are closed', async () => {
      after = await this.#scene.rest();
      return after.descriptors <= before.descriptors && after.strays === 0;
    }).catch(() => undefined);
    return after;
  }

  /** The kernel, when memory is short, takes any of them; here rather one that works. */
  async #kill(busy: boolean): Promise<void> {
    await until('one is killed', async () => {
      const workers = await this.#scene.workers();
      const victim = this.#random.pick(workers.filter(({ state }) => !busy || state === 'busy'));
      if (!victim || !hasKilled(victim.pid)) return false;
      this.#kills += 1;
      if (victim.state === 'busy') this.#busyKills += 1;
      return true;
    }).catch(() => undefined);
  }

  async #prompt(serial: number): Promise<void> {
    const random = this.#random;
    const inTurn = kinds[(serial - 1) % kinds.length] as Kind;
    const picked = this.#inTurn ? inTurn : pickKind(random);
    const hex = (digits: number) =>
      Array.from({ length: digits }, () => random.below(16).toString(16)).join('');
    const canary = `canary-${serial}-${hex(8)}`;
    const traceId = `${hex(31)}1`;
    const session = continues.has(picked) ? this.#pickSession(picked) : undefined;
    const kind = continues.has(picked) && !session ? 'new' : picked;
    const conversation =
      session && kind !== 'fork' ? session.conversation : new Conversation(session?.conversation);
    this.#canaries.add(canary, conversation);
    const token = session?.token ?? random.below(2);
    const text = directivesOf(kind, canary, random);
    const bad = random.pick(badRequests);
    const leaveAfter = random.below(3_000);
    const body = {
      prompt: `${text} ${canary}`,
      ...(session ? { session_id: session.id } : { profile: random.pick(profiles) }),
      ...(kind === 'fork' ? { fork: true } : {}),
      ...(kind === 'heartbeat' ? { heartbeat: '1s' } : {}),
      ...(kind === 'timed out' ? { timeout: `${500 + random.below(2_500)}ms` } : {}),
      ...(random.below(10) === 0 ? { on_recycle: 'fail' } : {}),
    };
    const events = kind.endsWith('SSE') || (kind === 'cancelled' && random.below(2) === 0);
    if (session) session.running += 1;
    if (kind === 'deleted session' && session) await this.#delete(session);
    const began = performance.now();
    const { agent, url, tokens } = this.#scene;
    const leaving = kind === 'cancelled' ? AbortSignal.timeout(leaveAfter) : undefined;
    const received = await sendPrompt({
      ...{ agent, url, traceId, events, token: tokens[token] as string },
      body: kind === 'bad' ? bad.body : body,
      ...(leaving ? { signal: leaving } : {}),
    });
    if (session) session.running -= 1;
    const [final] = received.finals;
    const ended = received.left ? 'left' : (final?.code ?? (final ? 'ok' : 'none'));
    const outcome: Outcome = {
      kind,
      ended,
      recycled: final?.recycled > 0,
      milliseconds: performance.now() - began,
    };
    const mayMiss = received.left && leaveAfter < surelyTaken;
    const problem =
      this.#judge(kind, received, canary, bad.code) ??
      (await this.#logged(traceId, kind === 'bad' || kind === 'deleted session' ? 0 : 1, mayMiss));
    this.#outcomes.push(outcome);
    if (problem) this.#problems.push(`prompt ${serial} (${kind}): ${problem}`);
    this.#onOutcome(outcome, problem);
    if (ended !== 'ok' || kind === 'bad') return;
    const known = this.#sessions.some(({ id }) => id === final.session_id);
    if (!known) this.#sessions.push({ id: final.session_id, token, conversation, running: 0 });
  }

  #pickSession(kind: Kind): Session | undefined {
    const alone = kind === 'deleted session';
    const fitting = this.#sessions.filter(({ running }) => !alone || running === 0);
    if (fitting.length === 0) return undefined;
    // Rather a young one, so that some get long and two prompts meet in one.
    const young = fitting.slice(-8);
    const session = this.#random.pick(this.#random.below(2) === 0 ? young : fitting);
    if (alone) this.#sessions.splice(this.#sessions.indexOf(session), 1);
    return session;
  }

  async #delete({ id, token }: Session): Promise<void> {
    const { agent, url, tokens } = this.#scene;
    const { statusCode, body } = await agent.request({
      origin: url,
      path: `/v1/sessions/${id}`,
      method: 'DELETE',
      headers: { authorization: `Bearer ${tokens[token]}` },
    });
    await body.dump();
    if (statusCode !== 204) this.#problems.push(`the session ${id} was not deleted: ${statusCode}`);
  }

  /** What is wrong with what a client got; undefined if nothing is. */
  #judge(kind: Kind, received: Received, canary: string, bad: string): string | undefined {
    const { finals, left, broken } = received;
    if (broken !== undefined) return `the connection broke: ${broken}`;
    if (left) return undefined;
    if (finals.length !== 1) return `${finals.length} final answers`;
    const [final] = finals;
    const { code } = final;
    if (kind === 'bad') return code === bad ? undefined : `${code} in the place of ${bad}`;
    if (this.#allowed.has(code)) return undefined;
    const wanted = wantedCode[kind];
    if (wanted !== undefined) {
      // Carried on it is another prompt for the stand-in, which is answered.
      return code === wanted || final.recycled > 0
        ? undefined
        : `${code} in the place of ${wanted}`;
    }
    if (code !== undefined) return `${code}: ${final.detail}`;
    if (final.recycled > 0 || final.result.includes(canary)) return undefined;
    return `the answer is another one's: ${final.result.slice(0, 200)}`;
  }

  /** Whether the server has logged its end as often as it should. */
  async #logged(trace: string, times: number, mayMiss: boolean): Promise<string | undefined> {
    const count = (): number => this.#finished.get(trace)?.length ?? 0;
    await until('it is logged', () => count() >= times).catch(() => undefined);
    // A second one would come at once.
    await delay(20);
    if (count() === times || (mayMiss && count() === 0)) return undefined;
    return `its end was logged ${count()} times, not ${times}`;
  }
}

/** Kills the process. @returns false if it has ended by itself meanwhile */
function hasKilled(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}
