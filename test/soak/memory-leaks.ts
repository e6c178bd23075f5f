/**
 * Leaks in a container of 1 GiB: prompts run all the while, and one turn after another calls a tool
 * whose MCP server takes memory at a given rate until something is done about it. Tells what the
 * callers got, what the kernel killed, and how soon the guard acted.
 */
import type { LogLine } from '../support/programs.ts';
import { type JsonReply, sendPrompt } from '../support/prompt.ts';
import { until } from '../support/until.ts';
import { startBerthIn } from './berth-in-cgroup.ts';

const mebibyte = 2 ** 20;
export const container = 1_024 * mebibyte;
/** BERTH_MEMORY_HARD's default. */
const hard = 0.85 * container;

export interface Leak {
  /** MB a second. */
  rate: number;
  reply: JsonReply;
  /** What the guard decided, with its numbers. */
  decision: LogLine | undefined;
  /** Milliseconds from the crossing of hard to the decision; 0 if it came before the crossing. */
  detection: number;
}

export interface LeakSeries {
  leaks: Leak[];
  /** Of the prompts that ran meanwhile. */
  others: JsonReply[];
  kernelKills: number;
}

export interface LeakOptions {
  /** An empty one of its own. */
  directory: string;
  /** One leak each, in turn. */
  rates: readonly number[];
  /** How it is started, in a container of that size; absent: in a cgroup alone. */
  start?: typeof startBerthIn;
  /** The sessions of the other prompts and of the leaks; each needs one process. Absent: each prompt begins a session. */
  sessions?: { others: string; leaks: string };
  /** The turn that leaks at a rate; absent: by an MCP server, which needs the real CLI. */
  prompt?: (rate: number) => string;
  onLeak?: (leak: Leak) => void;
}

export async function leakInTurn(options: LeakOptions): Promise<LeakSeries> {
  const { directory, rates, start = startBerthIn, prompt = leakPrompt, onLeak, sessions } = options;
  const berth = await start(directory, { limit: container, mcpServers: 1 });
  const { cgroup, program, target } = berth;
  const others: JsonReply[] = [];
  const leaks: Leak[] = [];
  try {
    let over = false;
    const meanwhile = (async () => {
      while (!over) {
        others.push(
          await sendPrompt(target, {
            prompt: '[[slow 100]] [[say ok]]',
            ...inSession(sessions?.others),
          }),
        );
      }
    })();
    for (const rate of rates) {
      const seen = program.lines.length;
      const watch = watchCrossing(cgroup.workingSet);
      const reply = await sendPrompt(target, {
        prompt: prompt(rate),
        ...inSession(sessions?.leaks),
      });
      const decision = program.lines
        .slice(seen)
        .find(({ event, action }) => event === 'memory_limit' && action === 'end');
      const crossed = watch.stop();
      const decided = Date.parse(String(decision?.time));
      const detection = crossed === undefined ? 0 : Math.max(0, decided - crossed);
      const leak = { rate, reply, decision, detection };
      leaks.push(leak);
      onLeak?.(leak);
      await until('the memory is free again', () => cgroup.workingSet() < hard * 0.7);
    }
    over = true;
    await meanwhile;
    return { leaks, others, kernelKills: cgroup.kills() };
  } finally {
    await berth.stop();
  }
}

function inSession(session_id: string | undefined): { session_id?: string } {
  return session_id === undefined ? {} : { session_id };
}

/** A turn whose tool leaks until something is done about it. */
export function leakPrompt(rate: number): string {
  const input = JSON.stringify({ rate, most: 4_000 });
  return `[[tool mcp__leak-1__leak ${input}]] [[say carried on]]`;
}

/** Looks every few milliseconds; tells when the working set was first above hard, by the wall clock. */
function watchCrossing(workingSet: () => number): { stop: () => number | undefined } {
  let crossed: number | undefined;
  const timer = setInterval(() => {
    if (crossed === undefined && workingSet() > hard) crossed = Date.now();
  }, 5);
  return {
    stop: () => {
      clearInterval(timer);
      return crossed;
    },
  };
}

/** `31 x 200, 1 x 502 worker_lost` */
export function countAnswers(replies: readonly JsonReply[]): string {
  const kinds = Map.groupBy(replies, ({ status, body }) =>
    status === 200 ? '200' : `${status} ${String(body.code)}`,
  );
  return [...kinds].map(([kind, all]) => `${all.length} x ${kind}`).join(', ');
}
