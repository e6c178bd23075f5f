/**
 * `npm run soak:boundary`: 2,000 hostile texts as prompts, while workers are killed, turns interrupted,
 * background tasks end and scheduled turns begin. Ends with 1 if anything is wrong. Options: --prompts N, --seed N, --calm.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runBoundary } from './boundary-run.ts';

const { values } = parseArgs({
  options: {
    prompts: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    calm: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-boundary-'));
const started = performance.now();
const seconds = (): number => Math.round((performance.now() - started) / 1_000);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  const { problems, ...figures } = await runBoundary({
    directory,
    prompts: Number(values.prompts),
    seed: Number(values.seed),
    ...(values.calm ? {} : { disturbEvery: 10 }),
    onPrompt: (done) => done % 100 === 0 && say(`${done} prompts, ${seconds()} s`),
  });
  for (const problem of problems.slice(0, 50)) say(`wrong: ${problem}`);
  say(
    `${JSON.stringify(figures)}, seed ${values.seed}, ${seconds()} s, ${problems.length} problems`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
