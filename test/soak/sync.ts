/**
 * `npm run soak:sync`: 300 pushes while 4 callers send prompts, and 100 kills of both programs. Ends
 * with 1 if something was lost or mixed. Options: --pushes N, --kills N, --callers N, --seed N, --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Random } from './random.ts';
import { runSync } from './sync-run.ts';

const { values } = parseArgs({
  options: {
    pushes: { type: 'string', default: '300' },
    kills: { type: 'string', default: '100' },
    callers: { type: 'string', default: '4' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-sync-'));
const random = new Random(Number(values.seed));
const started = performance.now();
try {
  const result = await runSync({
    directory,
    pushes: Number(values.pushes),
    kills: Number(values.kills),
    callers: Number(values.callers),
    random: () => random.next(),
  });
  const { problems, ...counts } = result;
  const seconds = Math.round((performance.now() - started) / 1_000);
  process.stdout.write(
    `${counts.pushes} pushes, ${counts.kills} kills, ${counts.prompts} prompts, ${counts.requests} requests examined, ${problems.length} problems, ${seconds} s\n`,
  );
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  if (values.json) process.stdout.write(`${JSON.stringify({ ...result, seconds })}\n`);
  process.exitCode = problems.length > 0 ? 1 : 0;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
