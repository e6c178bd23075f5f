/**
 * What the shell script did wrong that berth-init replaces. Each test shows the script failing and
 * berth-init passing in the same situation.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { openHarbour, token, treeOf } from '../init/fixture.ts';
import { runProgram, startProgram } from '../init/process.ts';
import { startGitServer } from '../support/git-server.ts';
import { gitEnvironment } from '../support/repository.ts';
import { until } from '../support/until.ts';

const script = join(import.meta.dirname, '../support/old-script.sh');

const login = (name: string, hours: number) =>
  JSON.stringify({
    claudeAiOauth: {
      accessToken: `access-of-${name}`,
      refreshToken: `refresh-of-${name}`,
      expiresAt: Date.UTC(2035, 0, 1) + hours * 3_600_000,
      scopes: ['user:inference'],
    },
  });

/** Two volumes, one for each, with the same on them. */
async function openBoth(t: Test, files?: Parameters<typeof openHarbour>[1]) {
  const harbour = await openHarbour(t, files);
  const old = join(harbour.directory, 'old');
  mkdirSync(old);
  const start = (overrides: Record<string, string> = {}) => {
    const child = spawn('sh', [script], {
      cwd: harbour.directory,
      detached: true,
      env: {
        ...gitEnvironment(),
        REPO_URL: `${harbour.url}.git`,
        GITHUB_PAT: token,
        TARGET: old,
        CREDENTIALS: join(harbour.directory, 'secrets/credentials.json'),
        ...overrides,
      },
    });
    const all = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]);
    const ended = all.then(([[code], out, error]) => ({ code, output: out + error }));
    const stop = () => void process.kill(-(child.pid ?? 0), 'SIGKILL');
    return { ended, stop, group: child.pid ?? 0 };
  };
  const put = (path: string, content: string) => {
    for (const volume of [old, harbour.volume]) {
      mkdirSync(join(volume, path, '..'), { recursive: true });
      writeFileSync(join(volume, path), content);
    }
  };
  return { harbour, old, start, put, berth: () => runProgram(harbour.environment()) };
}

t.test('1. the files of the CLI survive a restart', async (t) => {
  const { harbour, old, start, put, berth } = await openBoth(t);
  await start().ended;
  await berth();
  const made = { 'projects/x/1.jsonl': 'transcript', 'CLAUDE.local.md': 'memory' };
  for (const [path, content] of Object.entries(made)) put(path, content);
  t.match(await start().ended, { code: 0 });
  t.notOk(existsSync(join(old, 'projects')), 'the script wipes it');
  t.match(await berth(), { code: 0 });
  t.match(harbour.tree(), made);
});

t.test('2. a name that begins with two dots is a name like any other', async (t) => {
  const { harbour, old, start, put, berth } = await openBoth(t);
  put('..foo', 'mine');
  put('notes', 'mine');
  const { code } = await start().ended;
  t.not(code, 0, 'the script cannot clone over it');
  t.strictSame(readdirSync(old), ['..foo'], 'and has wiped the rest by then');
  t.match(await berth(), { code: 0 });
  t.match(harbour.tree(), { '..foo': 'mine', notes: 'mine', 'CLAUDE.md': '# one\n' });
});

t.test('3. without the git server the earlier state serves on', async (t) => {
  const { harbour, old, start, berth } = await openBoth(t);
  await start().ended;
  await berth();
  harbour.server.fault({ kind: 'status', status: 404 });
  t.not((await start().ended).code, 0);
  t.strictSame(treeOf(old), {}, 'the script leaves nothing');
  t.match(await berth(), { code: 0 });
  t.match(harbour.tree(), { 'CLAUDE.md': '# one\n', 'settings.json': '{}\n' });
});

t.test('4. a refreshed login is not replaced by the one it came from', async (t) => {
  const { harbour, old, start, put, berth } = await openBoth(t);
  writeFileSync(join(harbour.directory, 'secrets/credentials.json'), login('secret', 0));
  await start().ended;
  await berth();
  put('.credentials.json', login('refreshed', 8));
  await start().ended;
  t.match(readFileSync(join(old, '.credentials.json'), 'utf8'), /refresh-of-secret/);
  await berth();
  t.match(harbour.read('.credentials.json'), /refresh-of-refreshed/);
});

/** The command lines of a process group, as `ps` shows them to everybody. */
function commandLines(group: number): string {
  const lines = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const [, , , of] =
          /\) (\S+) (\S+) (\S+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
        return Number(of) === group || Number(pid) === group
          ? readFileSync(`/proc/${pid}/cmdline`, 'utf8')
          : '';
      } catch {
        return '';
      }
    });
  return lines.join('\n');
}

t.test('5. the token shows neither among the processes nor on the volume', async (t) => {
  const { harbour, old, start } = await openBoth(t);
  harbour.server.fault({ kind: 'hang' });
  const running = start();
  await until('git is asking', () => harbour.server.requests.length > 0);
  t.match(commandLines(running.group), token, 'the script shows it in ps');
  t.match(readFileSync(join(old, '.git/config'), 'utf8'), token, 'and writes it down');
  running.stop();
  await running.ended;
  const asked = harbour.server.requests.length;
  const berth = startProgram(harbour.environment());
  await until('berth is asking', () => harbour.server.requests.length > asked);
  t.notMatch(readFileSync(`/proc/${berth.pid}/cmdline`, 'utf8'), token);
  t.notMatch(JSON.stringify(treeOf(harbour.volume)), token);
  berth.kill('SIGKILL');
  await berth.ended;
});

t.test('6. a token with an @ or a / works and is not printed', async (t) => {
  const { harbour, start } = await openBoth(t);
  const odd = 'ghp_first/SECOND@third';
  const root = join(harbour.directory, 'repositories');
  const server = await startGitServer({ root, token: odd });
  t.teardown(() => server.close());
  const url = server.repositoryUrl('me/claude');
  const { code, output } = await start({ REPO_URL: url, GITHUB_PAT: odd }).ended;
  t.not(code, 0, 'the script asks another host');
  t.match(output, /ghp_first|SECOND/, 'and prints parts of the token');
  const berth = await runProgram(harbour.environment({ BERTH_REPO: url, BERTH_GIT_TOKEN: odd }));
  t.equal(berth.code, 0);
  t.notMatch(berth.output, /ghp_first|SECOND/);
});

t.test('7. a repository cannot choose where the login is written', async (t) => {
  const { harbour, old, start, berth } = await openBoth(t, {
    'CLAUDE.md': 'x',
    '.credentials.json': { symlink: '../stolen.json' },
  });
  writeFileSync(join(harbour.directory, 'secrets/credentials.json'), login('secret', 0));
  const stolen = join(harbour.directory, 'stolen.json');
  writeFileSync(stolen, 'of somebody else');
  await start().ended;
  t.match(readFileSync(stolen, 'utf8'), /refresh-of-secret/, 'the script follows the symlink');
  t.ok(existsSync(old));
  writeFileSync(stolen, 'of somebody else');
  t.match(await berth(), { code: 0 });
  t.equal(readFileSync(stolen, 'utf8'), 'of somebody else');
  t.match(harbour.read('.credentials.json'), /refresh-of-secret/);
});
