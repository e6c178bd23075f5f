import fs, {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { blobId } from '../../../supervisor/configuration/entries.ts';
import { ConfigurationGuard } from '../../../supervisor/configuration/guard.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { cannotMount, mountSmall } from '../../support/small-volume.ts';
import { until } from '../../support/until.ts';

const files = {
  'settings.json': '{"permissions":{"deny":["Bash"]}}',
  'CLAUDE.md': 'be kind',
  hooks: { 'check.sh': '#!/bin/sh\n' },
  skills: { review: { 'SKILL.md': 'look well' } },
  plugins: { 'known_marketplaces.json': '{}' },
};

async function guardOn(t: Test, directory: string, bounds: { mostNew?: number } = {}) {
  const log = captureLog();
  const actions: string[] = [];
  const state = { distrusted: 0 };
  const guard = new ConfigurationGuard({
    ...bounds,
    configDirectory: directory,
    stateDirectory: join(directory, '.berth'),
    log: log.log,
    onAction: (action) => actions.push(action),
    onDistrust: () => {
      state.distrusted += 1;
    },
  });
  t.teardown(() => guard.stop());
  await guard.start();
  const at = (path: string) => join(directory, path);
  const read = (path: string) => readFileSync(at(path), 'utf8');
  return { guard, log, actions, state, at, read, directory };
}

const start = (t: Test, more: object = {}) => guardOn(t, makeVolume(t, { ...files, ...more }));

function makeVolume(t: Test, content: object): string {
  return testDirectory(t, { '.berth': {}, ...content });
}

/** As init leaves it. */
function recordOf(entries: Record<string, string>): string {
  const recorded = Object.entries(entries).map(([path, content]) => {
    return [path, { mode: '100644', oid: blobId(Buffer.from(content)), inode: 1 }];
  });
  return JSON.stringify({ version: 1, directory: null, entries: Object.fromEntries(recorded) });
}

t.test('an edit is put back at once and saved', async (t) => {
  const { log, actions, at, read } = await start(t);
  writeFileSync(at('settings.json'), '{}');
  const line = await log.logged('configuration_changed');
  t.equal(read('settings.json'), files['settings.json']);
  t.equal(readFileSync(String(line.saved), 'utf8'), '{}');
  t.same(actions, ['restored']);
});

t.test('a file that is deleted, replaced or no longer executable is restored', async (t) => {
  const { guard, at, read, actions } = await start(t);
  chmodSync(at('hooks/check.sh'), 0o755);
  guard.stop();
  const again = await guardOn(t, at(''));
  rmSync(at('settings.json'));
  again.guard.assertRight();
  t.equal(read('settings.json'), files['settings.json']);
  rmSync(at('settings.json'));
  mkdirSync(at('settings.json'));
  again.guard.assertRight();
  t.equal(read('settings.json'), files['settings.json']);
  chmodSync(at('hooks/check.sh'), 0o644);
  again.guard.assertRight();
  t.equal(lstatSync(at('hooks/check.sh')).mode & 0o777, 0o755);
  renameSync(at('skills'), at('elsewhere'));
  symlinkSync('elsewhere', at('skills'));
  again.guard.assertRight();
  t.ok(lstatSync(at('skills')).isDirectory());
  t.equal(read('skills/review/SKILL.md'), 'look well');
  t.equal(actions.includes('failed'), false);
});

t.test('a directory that was exchanged is watched', async (t) => {
  const { log, at, read } = await start(t);
  renameSync(at('skills'), at('elsewhere'));
  await log.logged('configuration_changed', ({ path }) => path === 'skills/review/SKILL.md');
  writeFileSync(at('skills/review/SKILL.md'), 'look away');
  await until('it is put back', () => read('skills/review/SKILL.md') === 'look well');
  t.end();
});

t.test('a file that was not there at the start is set aside', async (t) => {
  const { log, at } = await start(t);
  mkdirSync(at('skills/evil'));
  writeFileSync(at('skills/evil/SKILL.md'), 'obey');
  writeFileSync(at('settings.local.json'), '{}');
  for (const path of ['skills/evil/SKILL.md', 'settings.local.json']) {
    const line = await log.logged('configuration_changed', (line) => line.path === path);
    t.match(line, { action: 'set_aside' });
    t.notOk(existsSync(at(path)));
    t.ok(existsSync(String(line.saved)));
  }
});

t.test('very many new directories hide neither a good file nor a new one', async (t) => {
  const volume = makeVolume(t, { ...files, agents: { 'b.md': 'b' } });
  const { guard, actions, at, read, state, log } = await guardOn(t, volume, { mostNew: 50 });
  mkdirSync(at('skills/evil'));
  writeFileSync(at('skills/evil/SKILL.md'), 'obey');
  for (let number = 0; number <= 50; number++) {
    mkdirSync(at(`workflows/x/${number}`), { recursive: true });
  }
  guard.assertRight();
  const { changes } = guard;
  t.notOk(existsSync(at('skills/evil/SKILL.md')));
  t.notOk(existsSync(at('workflows')), 'they were moved away as a whole');
  for (let check = 0; check < 6; check++) guard.assertUnchanged(changes);
  t.same(new Set(actions), new Set(['set_aside']), 'no good file was moved');
  t.equal(state.distrusted, 0);
  t.ok(log.lines.length < 4, 'one line for all of them');

  for (let number = 0; number <= 120; number++) mkdirSync(at(`agents/${number}`));
  writeFileSync(at('agents/c.md'), 'obey');
  rmSync(at('agents/b.md'));
  guard.assertRight();
  t.ok(readdirSync(at('agents')).length < 50);
  t.notOk(existsSync(at('agents/c.md')));
  t.equal(read('agents/b.md'), 'b', 'also beside a good file');
});

t.test('files that exist at the start do not count as new', async (t) => {
  const agents = Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`${at}.md`, 'x']));
  const volume = makeVolume(t, { ...files, agents });
  const { guard, actions, read, at } = await guardOn(t, volume, { mostNew: 50 });
  writeFileSync(at('agents/7.md'), 'y');
  guard.assertRight();
  t.equal(read('agents/7.md'), 'x');
  t.equal(readdirSync(at('agents')).length, 60);
  t.same(actions, ['restored']);
});

t.test(
  'files that are not executable configuration and plugin data of the CLI may change',
  async (t) => {
    const { guard, actions, at, read } = await start(t);
    writeFileSync(at('CLAUDE.md'), 'be brief');
    writeFileSync(at('plugins/known_marketplaces.json'), '{"a":1}');
    mkdirSync(at('plugins/store'));
    writeFileSync(at('plugins/store/a.json'), '{}');
    guard.assertRight();
    t.equal(read('CLAUDE.md'), 'be brief');
    t.equal(read('plugins/known_marketplaces.json'), '{"a":1}');
    t.same(actions, []);
  },
);

t.test('a file edited while no supervisor ran is restored from the copies', async (t) => {
  const tracked = { 'settings.json': files['settings.json'], 'hooks/check.sh': '#!/bin/sh\n' };
  const { guard, at, read } = await start(t, { '.berth': { 'applied.json': recordOf(tracked) } });
  guard.stop();
  writeFileSync(at('settings.json'), '{}');
  rmSync(at('hooks/check.sh'));
  const again = await guardOn(t, at(''));
  t.equal(read('settings.json'), files['settings.json']);
  t.equal(read('hooks/check.sh'), '#!/bin/sh\n');
  again.guard.assertRight();
});

t.test('without a copy no CLI is started', async (t) => {
  const applied = recordOf({ 'settings.json': '{"model":"opus"}' });
  const { guard, read, actions } = await start(t, { '.berth': { 'applied.json': applied } });
  t.throws(() => guard.assertRight(), { code: 'cli_unavailable', message: /settings\.json/ });
  t.equal(read('settings.json'), files['settings.json']);
  t.same(actions, ['failed']);
});

t.test('an invalid record changes no file', async (t) => {
  for (const applied of [
    '{',
    '[]',
    '{"entries":{"settings.json":7}}',
    '{"entries":{"hooks/../x":{}}}',
  ]) {
    const { guard, read } = await start(t, { '.berth': { 'applied.json': applied } });
    guard.assertRight();
    t.equal(read('settings.json'), files['settings.json']);
    guard.stop();
  }
});

t.test('a record that cannot be read after a change of init removes no file', async (t) => {
  const tracked = { 'settings.json': files['settings.json'], 'hooks/check.sh': '#!/bin/sh\n' };
  const applied = recordOf(tracked);
  const { guard, at, read, actions } = await start(t, { '.berth': { 'applied.json': applied } });
  const copies = readdirSync(at('.berth/executable'));
  t.equal(copies.length, 2);
  guard.hold();
  rmSync(at('.berth/applied.json'));
  mkdirSync(at('.berth/applied.json'));
  t.equal(await guard.reload(), false, 'init is asked to repair');
  for (const [path, content] of Object.entries(tracked)) t.equal(read(path), content);
  t.same(actions, []);
  guard.stop();
  const again = await guardOn(t, at(''));
  t.strictSame(readdirSync(at('.berth/executable')), copies, 'the copies stay for the next record');
  rmSync(at('.berth/applied.json'), { recursive: true });
  writeFileSync(at('.berth/applied.json'), applied);
  t.equal(await again.guard.reload(), true);
});

t.test('a process that starts during a change is not used', async (t) => {
  const { guard, at } = await start(t);
  const { changes } = guard;
  guard.assertUnchanged(changes);
  writeFileSync(at('settings.json'), '{}');
  t.throws(() => guard.assertUnchanged(changes), { code: 'cli_unavailable' });
  guard.assertUnchanged(guard.changes);
});

t.test('changes that keep coming end all processes', async (t) => {
  const { guard, state, at } = await start(t);
  for (let time = 1; time <= 5; time++) {
    writeFileSync(at('settings.json'), `{"a":${time}}`);
    guard.assertRight();
  }
  t.equal(state.distrusted, 1);
});

t.test('hooks are found in settings, plugins and headers', async (t) => {
  const mayHaveHooks = async (more: object) => {
    const { guard } = await start(t, more);
    guard.stop();
    return guard.mayHaveHooks;
  };
  t.equal(await mayHaveHooks({}), false);
  t.ok(await mayHaveHooks({ 'settings.json': '{"hooks":{}}' }));
  t.ok(await mayHaveHooks({ 'settings.json': '{"enabledPlugins":{"a@b":true}}' }));
  t.ok(await mayHaveHooks({ agents: { 'a.md': '---\nname: a\nhooks:\n  Stop: []\n---\n' } }));
});

t.test(
  'on a full volume, a file that cannot be restored blocks new workers',
  { skip: cannotMount },
  async (t) => {
    const directory = makeVolume(t, {});
    using _ = mountSmall(directory, 'size=1m');
    mkdirSync(join(directory, '.berth/conflicts'), { recursive: true });
    writeFileSync(join(directory, 'settings.json'), 'x'.repeat(10_000));
    const { guard, at, read } = await guardOn(t, directory);
    try {
      for (let name = 0; ; name++) writeFileSync(at(`fill-${name}`), 'x'.repeat(4_096));
    } catch {
      // It is full.
    }
    rmSync(at('settings.json'));
    for (const name of ['a', 'b', 'c']) {
      try {
        writeFileSync(at(`more-${name}`), 'x'.repeat(4_096));
      } catch {
        // Now it is.
      }
    }
    t.throws(() => guard.assertRight(), { code: 'cli_unavailable', message: /ENOSPC/ });
    for (const name of readdirSync(directory)) if (/^fill-/.test(name)) rmSync(at(name));
    guard.assertRight();
    t.equal(read('settings.json'), 'x'.repeat(10_000));
    guard.stop();
  },
);

t.test('a new file that could not be moved away and has gone prevents no start', async (t) => {
  const { guard, at, actions } = await guardOn(t, testDirectory(t, files));
  mkdirSync(at('.berth'), { recursive: true });
  writeFileSync(at('.berth/conflicts'), 'nothing can be moved there');
  writeFileSync(at('settings.local.json'), '{}');
  t.throws(() => guard.assertRight(), { code: 'cli_unavailable' });
  t.throws(() => guard.assertRight(), { code: 'cli_unavailable' });
  t.same(actions, ['failed'], 'it is logged and counted once');
  rmSync(at('settings.local.json'));
  guard.assertRight();
});

t.test('a change in the same tick of the clock as the last one is seen', async (t) => {
  const directory = testDirectory(t, files);
  const settings = join(directory, 'settings.json');
  const { lstatSync } = fs;
  const time = Date.now() + 60_000;
  // The clock of the files stands still.
  Object.assign(fs, {
    lstatSync(path: string, options: object) {
      const found = lstatSync(path, options);
      return path === settings ? Object.assign(found, { mtimeMs: time, ctimeMs: time }) : found;
    },
  });
  syncBuiltinESMExports();
  t.teardown(() => {
    Object.assign(fs, { lstatSync });
    syncBuiltinESMExports();
  });
  const { guard, read } = await guardOn(t, directory);
  guard.assertRight();
  const right = read('settings.json');
  writeFileSync(settings, right.replace('Bash', 'Read'));
  guard.assertRight();
  t.equal(read('settings.json'), right);
});
