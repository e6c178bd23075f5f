/** Broken settings, as berth judges them by itself and as the real CLI says it takes them. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { disarming, settingsProblems, typeOfKey } from '../../../shared/cli-settings.ts';
import type { SettingsProblem } from '../../../shared/settings-problem.ts';
import { ignoredSettings } from '../../../supervisor/claude/settings-in-force.ts';
import { readForbidding } from '../../../supervisor/profiles/settings-rules.ts';
import { makeSurroundings, startProcess } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';

const hook = { type: 'command', command: 'true' };
const good = {
  model: 'opus',
  permissions: { deny: ['WebFetch'], ask: ['Bash(git push:*)'], allow: ['Read'] },
  hooks: { PreToolUse: [{ matcher: 'Bash', hooks: [hook] }] },
  env: { FOO: 'bar' },
};
const text = JSON.stringify(good, null, 2);
const plus = (more: object): string => JSON.stringify({ ...good, ...more });
const deny = (...rules: unknown[]): string =>
  plus({ permissions: { deny: ['WebFetch', ...rules] } });
const hooks = (more: object): string => plus({ hooks: { ...good.hooks, ...more } });

/** What the CLI ignores of each; `part` is what only berth says, for it disarms nothing. */
const table: Record<SettingsProblem['loses'] | 'nothing', Record<string, string | Buffer>> = {
  nothing: {
    good: text,
    'with a byte order mark': `\ufeff${text}`,
    'in UTF-16': Buffer.from(`\ufeff${text}`, 'utf16le'),
    'a key twice': text.replace('"model"', '"model": "sonnet", "model"'),
    'an unknown key': plus({ modle: 'opus' }),
    'a number in env': plus({ env: { A: 1 } }),
    'many kinds of rules': deny(
      ...['Bash', 'Bash(rm:*)', 'Bash(rm *)', 'Bash(a(b))', 'Read(./**)', 'Edit(//etc/**)', '*'],
      ...['mcp__github', 'mcp__github__*', 'WebFetch(domain:example.com)', '  Grep  ', 'Other'],
    ),
    'many kinds of hooks': hooks({
      Stop: [{ hooks: [{ type: 'prompt', prompt: 'x' }] }],
      SessionEnd: [{ matcher: '', hooks: [] }],
      Notification: [{ hooks: [{ type: 'http', url: 'http://127.0.0.1:1/' }] }],
      PostToolUse: [{ matcher: 'Edit', hooks: [{ ...hook, timeout: 5 }, hook] }],
    }),
  },
  all: {
    truncated: text.slice(0, -10),
    'cut off in front': text.slice(5),
    empty: '',
    blank: ' \n',
    'with a trailing comma': `${text.slice(0, -2)},\n}`,
    'with a comment': `// mine\n${text}`,
    'with a comment in the middle': text.replace('{', '{ /* mine */'),
    'with conflict markers': `<<<<<<< HEAD\n${text}\n=======\n{}\n>>>>>>> other\n`,
    'with a NUL': `${text}\0`,
    null: 'null',
    'a list': '[]',
    'a text': '"x"',
    'model a number': plus({ model: 7 }),
    'model null': plus({ model: null }),
    'permissions a list': plus({ permissions: [] }),
    'deny a text': plus({ permissions: { deny: 'WebFetch' } }),
    'deny null': plus({ permissions: { deny: null } }),
    'a mode that is none': plus({ permissions: { deny: ['WebFetch'], defaultMode: 'careful' } }),
    'a hook without a type': plus({ hooks: { PreToolUse: [{ hooks: [{ command: 'true' }] }] } }),
    'a hook event that is a text': plus({ hooks: { PreToolUse: 'true' } }),
    'a matcher that is an object': plus({
      hooks: { PreToolUse: [{ matcher: {}, hooks: [hook] }] },
    }),
    'a time-out that is a text': plus({
      hooks: { PreToolUse: [{ hooks: [{ ...hook, timeout: '5' }] }] },
    }),
  },
  guard: {
    'a rule without an end': deny('Bash(rm'),
    'an empty rule': deny(''),
    'a number as a rule': deny(7),
    'a tool in small letters': deny('bash'),
    'a rule with empty parentheses': deny('Bash()'),
    'a rule with a prefix of nothing': deny('Bash(:*)'),
    'an MCP tool with parentheses': deny('mcp__github__get(x)'),
    'a broken rule under ask': plus({ permissions: { ask: ['Bash(rm'] } }),
    'hooks a text': plus({ hooks: 'true' }),
    'a matcher without hooks': hooks({ PostToolUse: [{ matcher: 'Edit' }] }),
    'a broken hook after another': hooks({ Stop: [{ hooks: [hook, { type: 'comand' }] }] }),
  },
  part: { 'a broken rule that allows': plus({ permissions: { allow: ['Bash(rm'] } }) },
};

t.test('the settings that berth reports as ignored are ignored by the real CLI', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': text });
  const file = join(surroundings.config, 'settings.json');
  const child = startProcess(t, surroundings);
  await child.control({ subtype: 'initialize' });
  for (const [loses, rows] of Object.entries(table)) {
    const disarms = loses === 'all' || loses === 'guard';
    for (const [name, content] of Object.entries(rows)) {
      writeFileSync(file, content);
      const own = settingsProblems(Buffer.from(content));
      const said = await ignoredSettings(child, surroundings.config);
      t.equal(disarming(own).length > 0, disarms, `${name}, by berth`);
      t.equal(said.length > 0, disarms, `${name}, by the CLI`);
      t.ok(said.every((each) => each.file === file));
      if (disarms) t.ok(own.some((each) => each.loses === loses) && said[0]?.loses === loses, name);
    }
  }
  t.match(settingsProblems(Buffer.from('{\n"a": 1,\n}'))[0]?.message, 'line 3');
  const blank = `{${'\n'.repeat(900_000)}`;
  t.match(settingsProblems(Buffer.from(blank)), [{ message: /too early|line/ }], 'at once');
  rmSync(file);
  t.same(await ignoredSettings(child, surroundings.config), [], 'none is no broken one');

  const wrong = Object.fromEntries(
    [...typeOfKey].map(([key, type]) => [key, type === 'string' ? 7 : 'x']),
  );
  writeFileSync(file, JSON.stringify(wrong));
  const paths = (await ignoredSettings(child, surroundings.config)).map(({ path }) => path);
  t.same(
    [...typeOfKey.keys()].filter((key) => !paths.includes(key)),
    [],
    'the CLI minds each key',
  );
  t.equal(settingsProblems(Buffer.from(JSON.stringify(wrong))).length, typeOfKey.size);
});

t.test('a hook event that the CLI does not know is named by it alone', async (t) => {
  const settings = hooks({ PreToolUsage: [{ hooks: [hook] }] });
  const surroundings = await makeSurroundings(t, { 'settings.json': settings });
  const child = startProcess(t, surroundings);
  await child.control({ subtype: 'initialize' });
  const said = await ignoredSettings(child, surroundings.config);
  t.match(said, [{ path: 'hooks.PreToolUsage', loses: 'guard' }]);
  const own = settingsProblems(Buffer.from(settings));
  t.match(own, [{ path: 'hooks.PreToolUsage', loses: 'part' }], 'a newer CLI may know it');
});

t.test('a byte order mark hides no deny rule from a profile with its own tools', (t) => {
  const bom = testDirectory(t, { 'settings.json': `\ufeff${text}` });
  t.same(readForbidding(bom), ['WebFetch', 'Bash(git push:*)']);
  t.end();
});

t.test('deny rules that berth cannot read or pass on are an error', (t) => {
  const many = Array.from({ length: 501 }, (_, at) => `Bash(${at})`);
  const withRules = (deny: unknown[]) => JSON.stringify({ permissions: { deny } });
  const directory = testDirectory(t, {
    many: { 'settings.json': withRules(many) },
    long: { 'settings.json': withRules([`Bash(${'x'.repeat(1_000)})`]) },
    large: { 'settings.json': `${withRules(['Bash'])}${' '.repeat(1024 ** 2)}` },
    most: { 'settings.json': withRules(many.slice(1)) },
    folder: { 'settings.json': {} },
  });
  for (const name of ['many', 'long', 'large']) {
    t.throws(() => readForbidding(join(directory, name)), { code: 'cli_unavailable' }, name);
  }
  t.throws(() => readForbidding(`${directory}/${'x'.repeat(300)}`), { message: /ENAMETOOLONG/ });
  t.equal(readForbidding(join(directory, 'most')).length, 500);
  t.same(readForbidding(join(directory, 'folder')), []);
  t.end();
});
