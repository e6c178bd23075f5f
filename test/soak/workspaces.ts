/**
 * Sessions with checkouts while the supervisor is killed again and again: `npm run soak:workspaces`. Ends with 1 if
 * anything is wrong. Options: --sessions N, --repositories N, --kills N, --budget MIB, --seed N, --real for the real CLI,
 * --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { realClaude, scriptedClaude } from '../support/claude.ts';
import { runWorkspaces } from './workspaces-run.ts';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '200' },
    repositories: { type: 'string', default: '5' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    budget: { type: 'string', default: '6' },
    real: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-workspaces-'));
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const kills = Number(values.kills);
let done = 0;
try {
  const result = await runWorkspaces({
    ...{ directory, kills, cli: values.real ? realClaude : scriptedClaude },
    sessions: Number(values.sessions),
    repositories: Number(values.repositories),
    seed: Number(values.seed),
    budget: Number(values.budget),
    onKill: (isDiskLost) =>
      say(`killed the supervisor${isDiskLost ? ', disk lost' : ''} (${++done} of ${kills})`),
  });
  const { problems, succeeded, continued, lost, remade, removed, missed, mirrors } = result;
  for (const problem of problems) say(`wrong: ${problem}`);
  say(
    `${values.sessions} sessions over ${values.repositories} repositories, seed ${values.seed}, ${result.seconds} s: ${succeeded} jobs succeeded, ${continued} continued a session; ${kills} kills, ${lost} with a lost disk; ${remade} checkouts made again; ${removed} sessions removed for the bound of the disk, ${missed} of them before a job continued them; ${Math.round(result.bytes / 1024)} KiB and ${mirrors} mirrors left; ${problems.length} problems`,
  );
  if (values.json) {
    const figures = [
      { name: 'jobs that succeeded', value: succeeded, unit: 'jobs' },
      { name: 'kills of the supervisor', value: kills, unit: '' },
      { name: 'checkouts made again', value: remade, unit: '' },
      { name: 'sessions removed for the bound of the disk', value: removed, unit: 'sessions' },
      { name: 'problems', value: problems.length, unit: '', target: 0, ok: problems.length === 0 },
    ];
    say(JSON.stringify({ figures }));
  }
  if (problems.length > 0) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
