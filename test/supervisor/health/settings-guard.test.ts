import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SettingsGuard } from '../../../supervisor/health/settings-guard.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings, scriptedClaude, startProcess } from '../../support/claude.ts';

t.test('another ignored file refuses prompts until it is corrected', async (t) => {
  const { config: configDirectory } = await makeSurroundings(t);
  const { log, lines } = captureLog();
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log });
  const managed = join(configDirectory, '..', 'managed-settings.json');
  let queries = 0;
  const isBroken = () => existsSync(managed) && readFileSync(managed, 'utf8') === 'broken';
  const control = async () => {
    queries += 1;
    const errors = isBroken() ? [{ file: managed, message: 'not JSON' }] : [];
    return { sources: [], errors };
  };
  const [good, bad] = [{ control }, { control }];
  await guard.check(good);
  writeFileSync(managed, 'broken');
  await guard.note(bad);
  const refused = { code: 'configuration_invalid', message: /; correct it, or set/ };
  t.throws(() => guard.assertInForce(), refused, 'no prompt waits for a worker');
  t.match(guard.ignored, [{ file: managed }], 'the status shows it');
  await t.rejects(guard.check(good), refused, 'a process that was good reads the file again');
  writeFileSync(join(configDirectory, 'settings.json'), '{}');
  t.throws(() => guard.assertInForce(), refused, 'a change of settings.json corrects nothing');
  t.match(lines.at(-1), { event: 'settings_ignored' });

  writeFileSync(managed, '{}');
  t.doesNotThrow(() => guard.assertInForce());
  await guard.check(bad);
  t.same(guard.ignored, []);
  t.match(lines.at(-1), { event: 'settings_in_force' });
  const before = queries;
  await guard.check(bad);
  t.equal(queries, before, 'a judgement is kept');
});

t.test('what is known of settings without a file counts for half a minute', async (t) => {
  const { config: configDirectory } = await makeSurroundings(t);
  const { log } = captureLog();
  const clock = { now: 0 };
  const now = () => clock.now;
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log, now });
  let errors = [{ file: 'remote managed settings', message: 'not JSON' }];
  let replies = true;
  const control = async () =>
    replies ? { sources: [], errors } : Promise.reject(new Error('it is stuck'));
  const process = { control };
  await guard.note(process);
  const refused = { code: 'configuration_invalid' };
  t.throws(() => guard.assertInForce(), refused);
  clock.now = 30_000;
  t.doesNotThrow(() => guard.assertInForce(), 'the process is asked again');
  await t.rejects(guard.check(process), refused);
  t.throws(() => guard.assertInForce(), refused);
  errors = [];
  await t.rejects(guard.check(process), refused, 'not asked for each prompt');
  clock.now = 60_000;
  replies = false;
  await t.rejects(guard.check(process), refused, 'without a reply nothing is corrected');
  replies = true;
  await t.resolves(guard.check(process));
  t.same(guard.ignored, []);
});

t.test('no reply to the second question leaves the answer to the first', async (t) => {
  const { config: configDirectory } = await makeSurroundings(t);
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log: captureLog().log });
  const answers = [{ sources: [], errors: [{ file: '/etc/managed', message: 'not JSON' }] }];
  const control = async () => answers.pop() ?? Promise.reject(new Error('it has ended'));
  await t.rejects(guard.check({ control }), { code: 'configuration_invalid' });
});

t.test('a settings.json that is a symlink to itself fails no start of a process', async (t) => {
  const surroundings = await makeSurroundings(t);
  const { config: configDirectory } = surroundings;
  symlinkSync('settings.json', join(configDirectory, 'settings.json'));
  const { log } = captureLog();
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log });
  const child = startProcess(t, surroundings, { path: scriptedClaude });
  await child.control({ subtype: 'initialize' });
  await t.resolves(guard.note(child));
});
