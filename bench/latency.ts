/**
 * `npm run bench`: measures the time of a prompt with a model that answers in 0 ms, so that only
 * the time on the way remains. It is a shorter version of `npm run bench:prompts`. Its argument is
 * the number of rounds, by default 30.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMessagesApi } from '../test/support/messages-api.ts';
import { compareLatency } from './prompts-latency.ts';
import { report } from './report.ts';

const rounds = Number(process.argv.find((each) => /^\d+$/.test(each)) ?? 30);

await using cleanup = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'berth-bench-'));
cleanup.defer(() => rm(directory, { recursive: true, force: true }));
const api = await startMessagesApi();
cleanup.defer(() => api.close());
report(
  `Latency of a prompt, ${rounds} rounds, interleaved`,
  await compareLatency(directory, api.url, rounds),
);
