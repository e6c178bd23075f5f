/** What a container that died has left on the volume, as the supervisor finds it at its start. */
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { noUsage } from '../../supervisor/sessions/session-record.ts';
import { environmentFor, layOut } from '../soak/berth-in-cgroup.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { startProgram } from '../support/programs.ts';

/** Processes of its own: whose CLIs else run on this machine is not seen, as in a container. */
const container = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=SIGTERM'];

async function prepare(t: Test) {
  t.teardown(() => {});
  const directory = t.testdir();
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  layOut(directory, 0);
  const config = join(directory, 'config');
  const start = (within = container) => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      within,
      environment: {
        ...environmentFor(directory, api.url),
        BERTH_WARM_WORKERS: '0',
        BERTH_WORKING_DIRECTORY: 'session',
        BERTH_DRAIN_DELAY: '0s',
      },
    });
    t.teardown(async () => {
      // It passes no signal on; its end does.
      program.kill('SIGKILL');
      await program.ended;
    });
    return program;
  };
  return { config, directory, start };
}

t.test('the locks of its CLIs are gone before the first prompt', async (t) => {
  const { config, start } = await prepare(t);
  const locks = [
    join(config, '.oauth_refresh.lock'),
    `${config}.lock`,
    join(config, '.storage-write.lock'),
  ];
  for (const lock of locks) mkdirSync(lock);
  const [lockBirthtimeMs, legacyLockBirthtimeMs] = locks.map((lock) => lstatSync(lock).birthtimeMs);
  const owner = { pid: 77, lockBirthtimeMs, legacyLockBirthtimeMs };
  writeFileSync(`${locks[0]}.owner`, JSON.stringify(owner));
  await start().logged('listening');
  t.strictSame(locks.filter(existsSync), []);
  t.notOk(existsSync(`${locks[0]}.owner`));
});

t.test('they stay while another CLI lives in the container, and so do its notes', async (t) => {
  const { config, directory, start } = await prepare(t);
  const lock = `${config}.lock`;
  mkdirSync(lock);
  const gone = join(directory, 'workspace/sessions', 'a'.repeat(24));
  const notes = JSON.stringify({ projects: { [gone]: { lastCost: 1 } } });
  writeFileSync(join(config, '.claude.json'), notes);
  const beside = ['sh', '-c', `CLAUDE_CONFIG_DIR=${config} sleep 600 & exec "$@"`, 'sh'];
  await start([...container, ...beside]).logged('listening');
  t.ok(existsSync(lock));
  t.equal(readFileSync(join(config, '.claude.json'), 'utf8'), notes);
});

t.test(
  'what the CLI notes of directories that are gone is forgotten, and nothing else',
  async (t) => {
    const { config, directory, start } = await prepare(t);
    const sessions = join(directory, 'workspace/sessions');
    const [stays, goes] = ['a', 'b'].map((digit) => join(sessions, digit.repeat(24)));
    const record = layOutSession(config, stays ?? '');
    const note = {
      allowedTools: [],
      lastCost: 0.06,
      lastSessionId: record,
      hasTrustDialogAccepted: true,
    };
    const others = [
      join(directory, 'workspace'),
      join(sessions, 'by-hand'),
      `/else/${'b'.repeat(24)}`,
    ];
    const paths = [stays, goes, ...others];
    const notes = {
      numStartups: 7,
      mcpServers: {},
      projects: Object.fromEntries(paths.map((path) => [path, note])),
    };
    const path = join(config, '.claude.json');
    writeFileSync(path, JSON.stringify(notes));
    chmodSync(path, 0o640);
    const program = start();
    t.match(await program.logged('directories_forgotten'), { directories: 1 });
    await program.logged('listening');
    const { [String(goes)]: _, ...left } = notes.projects;
    const now = JSON.parse(readFileSync(path, 'utf8'));
    t.strictSame(now.projects, left);
    t.match(now, { numStartups: 7, mcpServers: {} });
    t.equal(lstatSync(path).mode & 0o777, 0o640);
  },
);

/** A session that works in that directory. Returns its id. */
function layOutSession(config: string, path: string): string {
  const id = randomUUID();
  mkdirSync(path, { recursive: true });
  mkdirSync(join(config, '.berth/sessions'), { recursive: true });
  const at = new Date().toISOString();
  const record = {
    ...{ version: 2, id, token: 'leaks', profile: 'default', created_at: at, last_used_at: at },
    ...{ turns: 1, cost_usd: 0, usage: noUsage, forked_from: null, flags: {}, cli_version: null },
    working_directory: { path, mode: 'session' },
  };
  writeFileSync(join(config, '.berth/sessions', `${id}.json`), JSON.stringify(record));
  return id;
}
