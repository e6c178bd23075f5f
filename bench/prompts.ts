/**
 * `npm run bench:prompts`: measures the cost of a prompt with a model that answers in 0 ms.
 * Arguments: `latency`, `overrides`, `mcp`, `memory`, `resume`, `alone` (default: these) and `curve`;
 * `rounds=N` for those with rivals, `rate=N` prompts a second to berth alone, by default 1,000.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCodeCache } from '../scripts/bundle-supervisor.ts';
import { type MessagesApi, startMessagesApi } from '../test/support/messages-api.ts';
import { measureAlone } from './prompts-alone.ts';
import { measureCurve } from './prompts-curve.ts';
import { compareLatency } from './prompts-latency.ts';
import { compareSlowStart } from './prompts-mcp.ts';
import { measureWarmMemory } from './prompts-memory.ts';
import { compareOverrides } from './prompts-overrides.ts';
import { compareResume } from './prompts-resume.ts';
import { type Figure, report } from './report.ts';

type Part = (directory: string, api: MessagesApi) => Promise<Figure[]>;

const given = process.argv.slice(2);
const numberOf = (name: string): number =>
  Number(new RegExp(`${name}=(\\d+)`).exec(given.join(' '))?.[1] ?? 0);
const rounds = numberOf('rounds');

const parts: Record<string, Part> = {
  latency: (directory, { url }) => compareLatency(directory, url, rounds || 30),
  overrides: (directory, { url }) => compareOverrides(directory, url, rounds || 15),
  memory: (directory, { url }) => measureWarmMemory(directory, url),
  resume: (directory, { url }) => compareResume(directory, url, rounds || 11),
  mcp: (directory, { url }) => compareSlowStart(directory, url, rounds || 7),
  alone: (directory) => measureAlone(directory, numberOf('rate') || 1_000),
  curve: (directory, { url }) =>
    measureCurve(directory, url, rounds || 30, numberOf('workers') || 16),
};
const usual = ['latency', 'overrides', 'mcp', 'memory', 'resume', 'alone'];

const named = Object.keys(parts).filter((name) => given.includes(name));
await using cleanup = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'berth-bench-'));
cleanup.defer(() => rm(directory, { recursive: true, force: true }));
makeCodeCache(join(import.meta.dirname, '../dist'));
const api = await startMessagesApi();
cleanup.defer(() => api.close());
const figures: Figure[] = [];
for (const name of named.length > 0 ? named : usual) {
  figures.push(...((await parts[name]?.(directory, api)) ?? []));
}
report('What a prompt costs; the model answers in 0 ms', figures);
