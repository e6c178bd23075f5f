/** A settings.json that the CLI would ignore: the last good one stays, or the run fails. */
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { objectId } from '../../../../init/git/pack-format.ts';
import { readRecorded } from '../../../../supervisor/configuration/recorded.ts';
import { type Harbour, openHarbour } from '../../../init/fixture.ts';

const good = '{"permissions":{"deny":["WebFetch"]}}\n';
const better = '{"permissions":{"deny":["WebFetch","WebSearch"]}}\n';
const broken = '{"permissions":{"deny":["WebFetch"],}}\n';
const files = { 'CLAUDE.md': 'one\n', 'settings.json': good };

const idOf = (text: string) => objectId('blob', Buffer.from(text));
const state = ({ volume }: Harbour, name: string) => join(volume, '.berth', name);
const settings = (harbour: Harbour) => harbour.read('settings.json');

/** As the supervisor keeps one. */
function putCopy(harbour: Harbour, text: string, name = idOf(text)): void {
  mkdirSync(state(harbour, 'executable'), { recursive: true });
  writeFileSync(state(harbour, `executable/${name}`), text);
}

/** The last run is made one that wrote all files and was killed before it said so. */
function undoEnd(harbour: Harbour, before: string): void {
  renameSync(state(harbour, 'applied.json'), state(harbour, 'pending.json'));
  renameSync(before, state(harbour, 'applied.json'));
}

t.test('the last good settings.json stays, run after run, until upstream is mended', async (t) => {
  const harbour = await openHarbour(t, files);
  t.notHas(await harbour.run(), { settings: 'kept' });
  harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'settings.json': broken });
  const commit = harbour.repository.head();
  for (const round of ['the first run', 'the second', 'the third']) {
    t.match(await harbour.run(), { commit, settings: 'kept', drift: 0, conflicts: 0 }, round);
    t.strictSame(harbour.tree(), { 'CLAUDE.md': 'two\n', 'settings.json': good }, round);
  }
  t.match(harbour.events('settings_invalid').at(-1), {
    level: 'error',
    kept: true,
    problems: [/it is not valid JSON/],
  });
  const recorded = await readRecorded(state(harbour, '.'));
  t.equal(recorded?.get('settings.json')?.oid, idOf(good), 'the supervisor guards what is kept');

  harbour.repository.commit({ 'settings.json': `${broken}\n` });
  t.match(await harbour.run(), { settings: 'kept' }, 'broken in another way');
  t.equal(settings(harbour), good);

  harbour.server.fault({ kind: 'status', status: 404 });
  t.match(await harbour.run(), { remote: 'failed', settings: 'kept' }, 'without the git server');
  t.equal(settings(harbour), good);

  harbour.server.fault(undefined);
  harbour.repository.commit({ 'settings.json': better });
  const mended = await harbour.run();
  t.match(mended, { commit: harbour.repository.head(), drift: 0, conflicts: 0 });
  t.equal(mended.settings, undefined);
  t.equal(settings(harbour), better);
});

t.test('a settings.json that loses a denial or a hook is invalid too', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  for (const text of [
    '',
    '{"permissions":{"deny":["webFetch"]}}',
    '{"hooks":{"Stop":[{"hooks":[{"type":"command"}]}]}}',
    '{"model":7}',
  ]) {
    harbour.repository.commit({ 'settings.json': text });
    t.match(await harbour.run(), { settings: 'kept' }, text);
    t.equal(settings(harbour), good, text);
  }
});

t.test('without a good one before it is written, and stays so until it is mended', async (t) => {
  const harbour = await openHarbour(t, { 'settings.json': broken });
  for (const round of ['the first run', 'the second']) {
    t.match(await harbour.run(), { settings: 'invalid' }, round);
    t.equal(settings(harbour), broken, round);
  }
  t.match(harbour.events('settings_invalid')[0], { level: 'error', kept: false });
  harbour.repository.commit({ 'settings.json': good });
  t.equal((await harbour.run()).settings, undefined);
  t.equal(settings(harbour), good);
});

t.test('with BERTH_INVALID_SETTINGS=fail the run fails, and the volume stays', async (t) => {
  const harbour = await openHarbour(t, files);
  const { commit } = await harbour.run();
  harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'settings.json': broken });
  const record = readFileSync(state(harbour, 'applied.json'), 'utf8');
  const message = /settings\.json of the repository: it is not valid JSON \(line 1\)/;
  const failure = { code: 'configuration_invalid', exitCode: 65, message };
  await t.rejects(harbour.run({ BERTH_INVALID_SETTINGS: 'fail' }), failure);
  t.strictSame(harbour.tree(), files);
  t.equal(readFileSync(state(harbour, 'applied.json'), 'utf8'), record);
  harbour.server.fault({ kind: 'status', status: 404 });
  const without = await harbour.run({ BERTH_INVALID_SETTINGS: 'fail' });
  t.match(without, { commit, remote: 'failed' }, 'without the server the old commit is good');
});

t.test('a run that was killed does not lose the good one', async (t) => {
  const before = (harbour: Harbour) => {
    const copy = join(harbour.directory, 'before.json');
    copyFileSync(state(harbour, 'applied.json'), copy);
    return copy;
  };
  const harbour = await openHarbour(t, files);
  await harbour.run();
  let record = before(harbour);
  harbour.repository.commit({ 'settings.json': broken });
  await harbour.run();
  undoEnd(harbour, record);
  t.match(await harbour.run(), { volume: 'interrupted', settings: 'kept' });
  t.equal(settings(harbour), good);

  record = before(harbour);
  harbour.repository.commit({ 'settings.json': better });
  await harbour.run();
  undoEnd(harbour, record);
  harbour.repository.commit({ 'settings.json': broken });
  t.match(await harbour.run(), { volume: 'interrupted', settings: 'kept', conflicts: 0 });
  t.equal(settings(harbour), better, 'what the killed run had written is good as well');
  t.match(await harbour.run(), { volume: 'complete', settings: 'kept', written: 0 });
});

t.test('init keeps the copy of the supervisor, never an edit on the volume', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  harbour.repository.commit({ 'settings.json': broken });
  putCopy(harbour, good);
  const edit = '{"permissions":{"allow":["WebFetch"]}}';
  for (const round of ['the first run', 'the second']) {
    writeFileSync(join(harbour.volume, 'settings.json'), edit);
    t.match(await harbour.run(), { settings: 'kept', drift: 1, conflicts: 1 }, round);
    t.equal(settings(harbour), good, 'the copy of the supervisor takes its place');
  }
  rmSync(join(harbour.volume, 'settings.json'));
  t.match(await harbour.run(), { settings: 'kept', restored: 1 });
  t.equal(settings(harbour), good);

  putCopy(harbour, edit, idOf(good));
  writeFileSync(join(harbour.volume, 'settings.json'), edit);
  t.match(await harbour.run(), { settings: 'invalid', drift: 1 }, 'a copy of another content');
  t.equal(settings(harbour), broken);
});

t.test('a record cannot make a planted one stay while upstream is good', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  const planted = '{"permissions":{"allow":["Bash"]}}';
  writeFileSync(join(harbour.volume, 'settings.json'), planted);
  putCopy(harbour, planted);
  const record = JSON.parse(readFileSync(state(harbour, 'applied.json'), 'utf8'));
  record.entries['settings.json'].kept = idOf(planted);
  writeFileSync(state(harbour, 'applied.json'), JSON.stringify(record));
  await harbour.run();
  t.equal(settings(harbour), good);
});

t.test('the settings.json of another repository is not kept', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  const root = join(harbour.directory, 'repositories');
  const { createRepository } = await import('../../../support/repository.ts');
  createRepository(root, 'me/other', { 'settings.json': broken });
  const other = harbour.server.repositoryUrl('me/other');
  t.match(await harbour.run({ BERTH_REPO: other }), { settings: 'invalid' });
  t.equal(settings(harbour), broken);
});

t.test('BERTH_REPO_PATH: the settings.json of that directory is judged and kept', async (t) => {
  const harbour = await openHarbour(t, { 'claude/settings.json': good, 'settings.json': 'x' });
  const environment = { BERTH_REPO_PATH: 'claude' };
  t.equal((await harbour.run(environment)).settings, undefined);
  harbour.repository.commit({ 'claude/settings.json': broken });
  for (const round of ['the first run', 'the second']) {
    t.match(await harbour.run(environment), { settings: 'kept' }, round);
    t.equal(settings(harbour), good, round);
  }
  const recorded = await readRecorded(state(harbour, '.'));
  t.equal(recorded?.get('settings.json')?.oid, idOf(good));
});
