import {
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { volumeStates } from '../../../init/volume/volume-states.ts';
import { type Harbour, openHarbour, walk } from '../../init/fixture.ts';
import { canChangeUser, runProgram } from '../../init/process.ts';

const check = (harbour: Harbour, overrides: Record<string, string> = {}) =>
  runProgram(harbour.environment(overrides), { arguments: ['--check'] });

/** Every path with what a change would show in. */
const everything = ({ volume }: Harbour) =>
  walk(volume).map((path) => {
    const { size, mtimeMs, ino } = statSync(join(volume, path));
    return [path, size, mtimeMs, ino];
  });

t.test('--check reports each state by text and exit code, and changes nothing', async (t) => {
  const harbour = await openHarbour(t, {
    'CLAUDE.md': 'one\n',
    'settings.json': '{}\n',
    'a.md': 'a\n',
  });
  const { volume } = harbour;
  const state = join(volume, '.berth');
  const record = join(state, 'applied.json');
  let whole = '';
  const restore = async () => {
    rmSync(volume, { recursive: true });
    mkdirSync(volume);
    await harbour.run();
    whole = readFileSync(record, 'utf8');
  };
  const says = async (name: keyof typeof volumeStates, words: RegExp, overrides = {}) => {
    const before = everything(harbour);
    const asked = harbour.server.requests.length;
    const { code, output } = await check(harbour, overrides);
    t.equal(code, volumeStates[name].exit, `${name}: ${output}`);
    t.match(output, new RegExp(`state +${name}: `));
    t.match(output, words);
    t.strictSame(everything(harbour), before, 'nothing is written');
    t.equal(harbour.server.requests.length, asked, 'nobody is asked');
  };
  await says('empty', /writes everything/);
  writeFileSync(join(volume, 'mine'), '');
  await says('foreign', /no record of berth/);
  await restore();
  await says('complete', /holds +http.* at [0-9a-f]{7}\n +confirmed .* ago\nfiles +3 tracked\n/);
  writeFileSync(join(volume, 'CLAUDE.md'), 'edited');
  await says('complete', /edited +CLAUDE\.md/);
  rmSync(join(volume, 'a.md'));
  writeFileSync(join(volume, 'settings.json'), 'x');
  await says('damaged_tree', /missing +a\.md\ndrifted +settings\.json/);
  await restore();
  await says('other_ref', /another ref/, { BERTH_REF: 'other' });
  await says('other_ref', /another ref or directory/, { BERTH_REPO_PATH: 'sub' });
  await says('other_repository', /another repository/, { BERTH_REPO: `${harbour.url}2` });
  writeFileSync(join(state, 'pending.json'), whole);
  await says('interrupted', /pending +change to http/);
  rmSync(join(state, 'pending.json'));
  writeFileSync(join(state, 'git/shallow'), 'x');
  await says('damaged_git_directory', /git +shallow is garbage/);
  writeFileSync(record, '{');
  await says('damaged_record', /record +applied\.json cannot be read/);
  writeFileSync(record, '{"version":7}');
  await says('newer_format', /format version 7/);
});

t.test('--check names the holder of the volume', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  t.match((await check(harbour)).output, /held by +no program\n/);
  const lease = { version: 1, owner: 'x', holder: 'serve on pod-1', beat: 1 };
  writeFileSync(join(harbour.volume, '.berth/lease.json'), JSON.stringify(lease));
  t.match((await check(harbour)).output, /held by +serve on pod-1/);
});

t.test(
  '--check lists the logins and names the login that a run takes, without a token',
  async (t) => {
    const harbour = await openHarbour(t);
    await harbour.run();
    const source = join(harbour.directory, 'secrets/credentials.json');
    const credentials = (hours: number, name: string) =>
      JSON.stringify({
        claudeAiOauth: {
          accessToken: `canary-access-${name}`,
          refreshToken: `canary-refresh-${name}`,
          expiresAt: Date.now() + hours * 3_600_000,
          scopes: ['user:inference'],
        },
      });
    t.match((await check(harbour)).output, /login +a run finds none; log in with the CLI/);
    writeFileSync(source, credentials(5, 'source'));
    const before = everything(harbour);
    const first = await check(harbour);
    t.equal(first.code, 0, 'the state of the volume alone is told by the exit code');
    t.match(
      first.output,
      /login +the source: access ends in .+ \(the CLI renews it\)\n +a run writes the source\n/,
    );
    t.strictSame(everything(harbour), before, 'nothing is written');
    await harbour.run();
    writeFileSync(join(harbour.volume, '.credentials.json'), credentials(7, 'refreshed'));
    const { output } = await check(harbour);
    t.match(
      output,
      /on the volume: .*\n +the source: .*\n +a run keeps the credentials on the volume\n/,
    );
    writeFileSync(source, '{');
    const torn = await check(harbour);
    t.match(torn.output, /the source: they cannot be used: it is not valid JSON/);
    t.notMatch(first.output + output + torn.output, /canary/);
  },
);

t.test(
  '--check counts the files of each owner on the volume and names the change of a run',
  { skip: !canChangeUser && 'needs root' },
  async (t) => {
    const harbour = await openHarbour(t);
    await harbour.run();
    t.match((await check(harbour)).output, /owner +all is the CLI's \(1000:1000\)\n/);
    for (const name of ['a', 'b']) writeFileSync(join(harbour.volume, name), '');
    chownSync(join(harbour.volume, 'b'), 4242, 4242);
    writeFileSync(join(harbour.volume, 'c'), '');
    t.match(
      (await check(harbour)).output,
      /owner +2 of 0:0, 1 of 4242:4242; a run changes their owner to 1000:1000\n/,
    );
    t.equal(statSync(join(harbour.volume, 'a')).uid, 0, 'and changes nothing');
  },
);

t.test('--check exits like a run if the volume is unusable or a setting is wrong', async (t) => {
  const harbour = await openHarbour(t);
  t.match(await check(harbour, { BERTH_CONFIG_DIR: join(import.meta.dirname, 'missing') }), {
    code: 73,
  });
  const link = join(harbour.directory, 'a-symlink');
  symlinkSync(harbour.volume, link);
  t.match(await check(harbour, { BERTH_CONFIG_DIR: link }), {
    code: 73,
    output: /it is a symlink/,
  });
  t.match(await check(harbour, { BERTH_UID: 'x' }), { code: 64 });
  t.strictSame(readdirSync(harbour.volume), []);
});

t.test('--check shows no text of strangers that a terminal would obey', async (t) => {
  const harbour = await openHarbour(t);
  harbour.repository.commit({ 'docs/\u001b[2Ja\u009b31m\u202e': 'x' });
  await harbour.run();
  rmSync(join(harbour.volume, 'docs'), { recursive: true });
  const applied = join(harbour.volume, '.berth/applied.json');
  const record = JSON.parse(readFileSync(applied, 'utf8'));
  writeFileSync(applied, JSON.stringify({ ...record, repository: 'x\u001b[2J\nstate complete' }));
  const { output } = await check(harbour);
  t.match(output, 'missing     docs/\\u001b[2Ja\\u009b31m\\u202e\n');
  t.match(output, 'holds       x\\u001b[2J\\u000astate complete at ');
  t.notMatch(output, /[^\P{Cc}\n]|\p{Bidi_Control}/u);
});

t.test('docs/init.md has the states as they are', async (t) => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/init.md'), 'utf8');
  for (const [name, { means, repair, exit }] of Object.entries(volumeStates)) {
    t.ok(page.includes(`| \`${name}\` | ${means} | ${repair} | ${exit} |\n`), name);
  }
});
