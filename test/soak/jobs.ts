/**
 * Jobs come in while supervisors are killed again and again: `npm run soak:jobs`. Ends with 1 if anything is wrong.
 * One supervisor with the embedded store, killed 30 times; with --redis three supervisors on one `redis-server`, each killed
 * 10 times, and Redis restarted twice. Options: --jobs N, --kills N of each supervisor, --restarts N of Redis, --seed N,
 * --between MS, --real for the real CLI, --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { realClaude, scriptedClaude } from '../support/claude.ts';
import { runJobs } from './jobs-run.ts';

const { values } = parseArgs({
  options: {
    redis: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '1000' },
    kills: { type: 'string' },
    restarts: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    between: { type: 'string', default: '16000' },
    real: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-jobs-'));
const kills = Number(values.kills ?? (values.redis ? 10 : 30));
const restarts = values.redis ? Number(values.restarts) : 0;
const total = kills * (values.redis ? 3 : 1);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let done = 0;
try {
  const { ended, continued, repeated, callbacks, problems, seconds } = await runJobs({
    directory,
    cli: values.real ? realClaude : scriptedClaude,
    jobs: Number(values.jobs),
    kills,
    seed: Number(values.seed),
    between: Number(values.between),
    ...(values.redis ? { redis: { restarts } } : {}),
    onKill: (what) => say(`${what} (${++done} of ${total + restarts})`),
  });
  for (const problem of problems) say(`wrong: ${problem}`);
  const states = Object.entries(ended).map(([state, count]) => `${state} ${count}`);
  say(
    `${values.jobs} jobs on ${values.redis ? 'Redis' : 'the embedded store'}, seed ${values.seed}, ${seconds} s: ${states.join(', ')}; ${total} kills, ${restarts} restarts of Redis, ${continued} jobs continued, ${repeated} prompts sent again, ${callbacks} callbacks, ${problems.length} problems`,
  );
  if (values.json) {
    const figures = [
      { name: 'jobs that succeeded', value: ended.succeeded ?? 0, unit: 'jobs' },
      { name: 'kills of supervisors', value: total, unit: '' },
      { name: 'restarts of Redis', value: restarts, unit: '' },
      { name: 'jobs continued after a kill', value: continued, unit: 'jobs' },
      { name: 'prompts sent again, whose turn had not ended', value: repeated, unit: 'prompts' },
      { name: 'callbacks received', value: callbacks, unit: 'callbacks' },
      { name: 'problems', value: problems.length, unit: '', target: 0, ok: problems.length === 0 },
    ];
    say(JSON.stringify({ figures }));
  }
  if (problems.length > 0) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
