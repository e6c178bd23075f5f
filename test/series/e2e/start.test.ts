/** `npm start`, as a newcomer runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type Test, test } from 'tap';
import { readOptions } from '../../../scripts/start/options.ts';
import { testDirectory } from '../../support/directory.ts';
import { processesOf } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

const script = join(import.meta.dirname, '../../../scripts/start/main.ts');

function start(t: Test, ...options: string[]) {
  return startIn(t, {}, ...options);
}

function startIn(t: Test, shell: Record<string, string>, ...options: string[]) {
  const temporary = testDirectory(t, {});
  const child = spawn(process.execPath, [script, ...options], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: temporary, ...shell },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return { child, temporary, ended: once(child, 'close') };
}

test('one question is answered on standard output, and nothing is left behind', async (t) => {
  const { child, temporary, ended } = start(t, '--ask', 'Which skills do you have?');
  const [answer, progress, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    ended,
  ]);
  t.equal(code, 0, progress);
  t.match(JSON.parse(answer), { is_error: false, session_id: /^[0-9a-f-]{36}$/ });
  t.match(JSON.parse(answer).result, /^\[stand-in\].*changelog/s, "the sample's skill is known");
  t.match(progress, 'a stand-in', 'it says plainly who answers');
  t.strictSame(readdirSync(temporary), [], 'the volume is gone');
  t.strictSame(processesOf(temporary), [], 'and so is the CLI');
});

test('the curl line that it prints works when pasted, and Ctrl-C stops all', async (t) => {
  const { child, temporary, ended } = startIn(t, {
    BERTH_HTTP_LISTEN: '127.0.0.1:0',
    BERTH_CONFIG_DIR: '/nowhere',
    BERTH_REF: 'of-another-repository',
    BERTH_MAX_WORKER: '3',
    BERTH_WARM_WORKERS: '0',
    BASH_MAX_TIMEOUT: '3',
  });
  let progress = '';
  child.stderr.on('data', (chunk: Buffer) => {
    progress += chunk.toString('utf8');
  });
  await until('it is ready', () => progress.includes('Ctrl-C stops it.'), 180_000);
  const [command = ''] = /^curl .*?'$(?=\n\n)/ms.exec(progress) ?? [];
  const shell = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.match(JSON.parse(await text(shell.stdout)), { is_error: false, result: /changelog/ });
  child.kill('SIGINT');
  t.strictSame(await ended, [0, null]);
  t.match(progress, /^settings {4}BERTH_HTTP_LISTEN, BERTH_MAX_WORKER, BERTH_WARM_WORKERS$/m);
  t.notMatch(command, /:8080\b/, 'the setting of the shell counts');
  t.match(progress, /^not taken {3}BERTH_CONFIG_DIR: the volume is/m);
  t.match(progress, /^not taken {3}BERTH_REF: the sample/m);
  t.match(progress, /BERTH_MAX_WORKER is not a setting; did you mean BERTH_MAX_WORKERS\?/);
  t.match(progress, /^not taken {3}BASH_MAX_TIMEOUT: .*did you mean BASH_MAX_TIMEOUT_MS\?/m);
  t.strictSame(readdirSync(temporary), []);
  t.strictSame(processesOf(temporary), []);
});

test('an option that it cannot follow ends it with the reason and the remedy', async (t) => {
  const { child, temporary, ended } = start(t, '--aks', 'x');
  const [progress, [code]] = await Promise.all([text(child.stderr), ended]);
  t.equal(code, 1);
  t.match(progress, /^cannot start: .*--aks.*; see npm start -- --help\n$/s);
  t.strictSame(readdirSync(temporary), [], 'nothing was begun');
  // The program reads its options before all else, and prints what this function throws.
  for (const options of [
    ['--ask'],
    ['--credentials', '/nonexistent'],
    ['--credentials', import.meta.dirname],
  ]) {
    const message = new RegExp(`${options.at(-1)}.*; see npm start -- --help$`, 's');
    t.throws(() => readOptions(options, {}), { message });
  }
});

test('a repository that cannot be reached ends it with the cause, and nothing is left', async (t) => {
  const { child, temporary, ended } = start(t, '--repo', 'http://127.0.0.1:9/none', '--ask', 'x');
  const [progress, [code]] = await Promise.all([text(child.stderr), ended]);
  t.equal(code, 1);
  t.match(progress, /cannot reach|cannot fetch|cannot .*127\.0\.0\.1:9/);
  t.strictSame(readdirSync(temporary), []);
  t.notOk(existsSync(join(temporary, 'claude')));
});
