/**
 * `npm run soak:hostile`: ten minutes of hostile requests against `berth serve`, with the real CLI and the
 * stand-in Messages API. Options: --seconds N, --seed N, --scripted (a scripted CLI).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { realClaude, scripted } from '../support/claude.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { runHostile } from './hostile-run.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: '12' },
    scripted: { type: 'boolean', default: false },
  },
});

const directory = mkdtempSync(join(tmpdir(), 'berth-hostile-'));
const api = await startMessagesApi();
const figures = await runHostile({
  directory,
  claude: values.scripted ? scripted('claude-that-answers') : realClaude,
  environment: { ANTHROPIC_BASE_URL: api.url },
  milliseconds: Number(values.seconds) * 1_000,
  seed: Number(values.seed),
  different: 2_000,
});
await api.close();
rmSync(directory, { recursive: true, force: true });
console.log(JSON.stringify(figures, undefined, 2));
const { livez, bugs, exitCode } = figures;
const ok = bugs.length === 0 && livez.failed === 0 && livez.max <= 100 && exitCode === 0;
console.log(ok ? 'held' : 'not held');
process.exit(ok ? 0 : 1);
