/**
 * Jobs come in while one supervisor with the embedded store is killed again and again: `npm run soak:jobs`. Ends with 1
 * if anything is wrong. Options: --jobs N, --kills N, --seed N, --between MS, --real for the real CLI, --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { realClaude, scriptedClaude } from '../support/claude.ts';
import { runJobs } from './jobs-run.ts';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    between: { type: 'string', default: '4000' },
    real: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-jobs-'));
const kills = Number(values.kills);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  const { ended, continued, repeated, problems, seconds } = await runJobs({
    directory,
    cli: values.real ? realClaude : scriptedClaude,
    jobs: Number(values.jobs),
    kills,
    seed: Number(values.seed),
    between: Number(values.between),
    onKill: (count) => say(`kill ${count} of ${kills}`),
  });
  for (const problem of problems) say(`wrong: ${problem}`);
  const states = Object.entries(ended).map(([state, count]) => `${state} ${count}`);
  say(
    `${values.jobs} jobs, seed ${values.seed}, ${seconds} s: ${states.join(', ')}; ${kills} kills, ${continued} jobs continued, ${repeated} prompts sent again, ${problems.length} problems`,
  );
  if (values.json) {
    const figures = [
      { name: 'jobs that succeeded', value: ended.succeeded ?? 0, unit: 'jobs' },
      { name: 'kills', value: kills, unit: '' },
      { name: 'jobs continued after a kill', value: continued, unit: 'jobs' },
      { name: 'prompts sent again, whose turn had not ended', value: repeated, unit: 'prompts' },
      { name: 'problems', value: problems.length, unit: '', target: 0, ok: problems.length === 0 },
    ];
    say(JSON.stringify({ figures }));
  }
  if (problems.length > 0) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
