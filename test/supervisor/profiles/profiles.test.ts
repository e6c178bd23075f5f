import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { keyOf } from '../../../supervisor/profiles/launch.ts';
import { type OverrideFields, readOverrides } from '../../../supervisor/profiles/overrides.ts';
import { builtInProfile, type Profile } from '../../../supervisor/profiles/profile.ts';
import { Profiles } from '../../../supervisor/profiles/profiles.ts';
import { readProfiles } from '../../../supervisor/profiles/read.ts';
import { hiddenTool, hiddenTools, warningsOf } from '../../../supervisor/profiles/warnings.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';

const bounds = { warmWorkers: 1, maxWorkers: 4 };

async function open(t: Test, path: string | undefined) {
  const log = captureLog();
  const profiles = await Profiles.open({ path, log: log.log, interval: 5, ...bounds });
  t.teardown(() => profiles.close());
  return { profiles, log };
}

/** A directory that is emptied after what looks at it has been closed. */
function place(t: Test): string {
  return testDirectory(t, {});
}

/** Writes it whole: half a file would be a problem more. */
function put(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** As the kubelet mounts a ConfigMap: a link through `..data`, which is swapped by a rename. */
function mount(directory: string, revision: number, text: string): string {
  const folder = `..revision_${revision}`;
  mkdirSync(join(directory, folder));
  writeFileSync(join(directory, folder, 'profiles.yaml'), text);
  symlinkSync(folder, join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  const path = join(directory, 'profiles.yaml');
  if (revision === 1) symlinkSync(join('..data', 'profiles.yaml'), path);
  return path;
}

/** The profile `review` of a file. */
function review(text: string): Profile {
  const profile = readProfiles(`profiles: {review: {${text}}}`, 'x', bounds).profiles.get('review');
  if (!profile) throw new Error('there is no review');
  return profile;
}

t.test('without a file there is the built-in profile, for everybody', async (t) => {
  const { profiles } = await open(t, undefined);
  t.match(profiles.forToken('n8n', undefined), { name: 'default', builtIn: true, warm: 1 });
  t.match(profiles.status, { names: ['default'], revision: null, problem: null });
  t.ok(profiles.mayAdminister('n8n'));
});

t.test('a change in a mounted ConfigMap is loaded, and the changes are logged', async (t) => {
  const directory = place(t);
  const path = mount(directory, 1, 'profiles: {a: {}, b: {model: opus}}');
  const { profiles, log } = await open(t, path);
  const [before, same] = [profiles.status, keyOf(profiles.forToken('n8n', 'a'))];
  const opus = keyOf(profiles.forToken('n8n', 'b'));
  let told = 0;
  profiles.onChange(() => told++);
  mount(directory, 2, 'profiles: {a: {}, b: {model: haiku}, c: {}}\ndefault: c');
  await until('the new ones are there', () => profiles.get('c'));
  t.equal(told, 1);
  t.equal(profiles.get('default'), undefined);
  t.match(log.lines.at(-1), {
    event: 'profiles_loaded',
    added: ['c'],
    removed: ['default'],
    changed: ['b'],
  });
  t.not(profiles.status.revision, before.revision);
  t.equal(keyOf(profiles.forToken('n8n', 'a')), same, 'workers of what did not change stay');
  t.not(keyOf(profiles.forToken('n8n', 'b')), opus, 'those of what did are renewed');
});

t.test(
  'a broken or missing file keeps the profiles, and each problem is logged once',
  async (t) => {
    const path = join(place(t), 'profiles.yaml');
    put(path, 'profiles: {a: {}}');
    const { profiles, log } = await open(t, path);
    put(path, 'profiles: {a: {warn: 1}}');
    await until('it is seen', () => profiles.status.problem !== null);
    t.match(profiles.status.problem, /profiles\.a\.warn, line 1: unknown key; did you mean warm\?/);
    rmSync(path);
    await until('it is missed', () => profiles.status.problem?.includes('ENOENT'));
    t.ok(profiles.get('a'));
    t.equal(log.lines.filter(({ level }) => level === 'error').length, 2);
    put(path, 'profiles: {a: {}}');
    await until('it is right again', () => profiles.status.problem === null);
    t.equal(log.count('profiles_loaded'), 3, 'what did not change is not announced');
  },
);

t.test('a file with a setting that is retired is taken, with a warning', async (t) => {
  const path = join(place(t), 'profiles.yaml');
  put(path, 'profiles: {a: {isolation: conversation}, b: {isolation: process}, c: {}}');
  const { profiles, log } = await open(t, path);
  t.equal(
    keyOf(profiles.forToken('n8n', 'a')).split(':')[1],
    keyOf(profiles.forToken('n8n', 'c')).split(':')[1],
  );
  const warned = log.lines.filter(({ level }) => level === 'warn');
  t.match(warned, [
    {
      event: 'profiles_loaded',
      msg: /^profiles\.a\.isolation: the value conversation was removed/,
    },
  ]);
  t.equal(warned.length, 1);
});

t.test('the same problem is logged once, however often the file is read', async (t) => {
  const path = join(place(t), 'profiles.yaml');
  put(path, 'profiles: {}');
  const { profiles, log } = await open(t, path);
  put(path, 'profiles: 1');
  await until('it is seen', () => profiles.status.problem !== null);
  put(path, 'profiles: {b: {}}');
  await until('it is right', () => profiles.get('b'));
  t.equal(log.lines.filter(({ level }) => level === 'error').length, 1);
});

t.test('a start with a broken or too large file fails', async (t) => {
  const path = join(place(t), 'profiles.yaml');
  put(path, 'profiles: 1');
  await t.rejects(open(t, path), { code: 'config_invalid', exitCode: 64 });
  put(path, `profiles: {} #${'x'.repeat(1024 * 1024)}`);
  await t.rejects(open(t, path), { code: 'config_invalid', message: /larger than 1048576 bytes/ });
});

t.test('a token gets its own default, and nothing that is for others', async (t) => {
  const path = join(place(t), 'profiles.yaml');
  put(
    path,
    `profiles: {open: {}, closed: {tokens: [ops]}}
default: closed
tokens: {n8n: {default_profile: open, daily_budget_usd: 3}, ops: {admin: true}}`,
  );
  const { profiles } = await open(t, path);
  t.equal(profiles.forToken('n8n', undefined).name, 'open');
  t.equal(profiles.forToken('ops', undefined).name, 'closed');
  const refusal = (name: string) => {
    try {
      profiles.forToken('n8n', name);
    } catch (error) {
      t.match(error, { code: 'profile_not_found', status: 404, retryable: false });
      return (error as Error).message.replace(name, 'X');
    }
    return undefined;
  };
  t.equal(refusal('closed'), refusal('nothing'), 'unknown and forbidden are not told apart');
  t.throws(() => profiles.forToken('home', undefined), { code: 'profile_not_found' });
  t.equal(profiles.token('n8n').dailyBudgetUsd, 3);
  t.same([profiles.mayAdminister('ops'), profiles.mayAdminister('n8n')], [true, false]);
});

const refused: [what: string, profile: string, request: OverrideFields, message: RegExp][] = [
  [
    'a field that is not listed',
    'overrides: [timeout]',
    { model: 'opus' },
    /"model": .*add model to profiles\.review\.overrides/,
  ],
  [
    'a model that is not offered',
    'models: [haiku], overrides: [model]',
    { model: 'opus' },
    /offers haiku; choose one of them, or add "opus" to profiles\.review\.models/,
  ],
  [
    'a model that is a flag',
    'overrides: [model]',
    { model: '--settings=x' },
    /not the name of a model/,
  ],
  [
    'a tool beyond those of the profile',
    'tools: {allow: ["Bash(git log:*)"]}, overrides: [allowed_tools]',
    { allowed_tools: ['Bash'] },
    /does not allow "Bash".*add it to profiles\.review\.tools\.allow/,
  ],
  [
    'a rule where settings.json decides',
    'overrides: [allowed_tools]',
    { allowed_tools: ['Bash(ls:*)'] },
    /no tools\.allow, only whole built-in tools/,
  ],
  [
    'more turns',
    'limits: {max_turns: 3}, overrides: [max_turns]',
    { max_turns: 4 },
    /at most the 3 of the profile review; lower it, or raise profiles\.review\.limits\.max_turns/,
  ],
  ['half a turn', 'overrides: [max_turns]', { max_turns: 0.5 }, /expected a number above 0/],
  [
    'more money',
    'limits: {max_budget_usd: 1}, overrides: [max_budget_usd]',
    { max_budget_usd: 1.5 },
    /raise profiles\.review\.limits\.max_budget_usd/,
  ],
  [
    'more time',
    'limits: {timeout: 1m}, overrides: [timeout]',
    { timeout: '90s' },
    /at most 1m; change it, or raise profiles\.review\.limits\.timeout/,
  ],
  [
    'a schema that is nested without measure',
    'overrides: [output_schema]',
    {
      output_schema: {
        type: 'object',
        ...JSON.parse(`${'{"not":'.repeat(6_000)}{}${'}'.repeat(6_000)}`),
      },
    },
    /nested more than 100 deep/,
  ],
  [
    'a schema of something else than an object',
    'overrides: [output_schema]',
    { output_schema: { type: 'string' } },
    /its type is not "object"/,
  ],
  [
    'instructions without measure',
    'overrides: [append_system_prompt]',
    { append_system_prompt: 'x'.repeat(33_000) },
    /more than 32768 bytes/,
  ],
];

for (const [what, profile, request, message] of refused) {
  t.test(`${what} is refused, and the error names the line that would allow the request`, (t) => {
    const error = { code: 'invalid_request', message };
    t.throws(() => readOverrides(request, review(profile), 280_000), error);
    t.end();
  });
}

t.test('overrides stricter than the profile are accepted', (t) => {
  const profile = review(
    `overrides: [model, allowed_tools, max_turns, max_budget_usd, timeout, output_schema],
    models: [haiku], model: opus, limits: {max_turns: 3, max_budget_usd: 1, timeout: 1m},
    tools: {allow: [Read, "Bash(git log:*)", mcp__github]}`,
  );
  const tools = ['Read(./docs/**)', 'Bash(git log:*)', 'mcp__github__get_issue'];
  t.same(
    readOverrides(
      {
        model: 'haiku',
        allowed_tools: tools,
        max_turns: 3,
        max_budget_usd: 0.5,
        timeout: '30s',
        output_schema: { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object' },
      },
      profile,
      280_000,
    ),
    {
      model: 'haiku',
      allowedTools: tools,
      maxTurns: 3,
      maxBudgetUsd: 0.5,
      timeout: 30_000,
      outputSchema: { type: 'object' },
    },
  );
  t.same(readOverrides({}, profile, 280_000), {});
  t.end();
});

t.test('processes are interchangeable only if they are started with the same', (t) => {
  const key = (text: string, overrides = {}) => keyOf(review(text), overrides);
  const plain = key('model: opus');
  t.equal(key('model: opus, limits: {timeout: 1m, daily_budget_usd: 5}, warm: 2'), plain);
  t.equal(key('', { model: 'opus' }), plain);
  t.equal(key('model: opus', { timeout: 5 }), plain);
  const others = [
    key('model: haiku'),
    key('model: opus', { maxTurns: 3 }),
    key('model: opus, working_directory: session'),
    key('model: opus, environment: {A: b}'),
    key('model: opus, environment: {A: {file: /b}}'),
    key('model: opus, tools: {allow: []}'),
    keyOf({ ...review('model: opus'), name: 'other' }),
  ];
  t.equal(new Set([plain, ...others]).size, others.length + 1);
  t.end();
});

t.test('a Secret that is rotated makes the processes of its profile others', async (t) => {
  const directory = place(t);
  const secret = join(directory, 'token');
  put(secret, 'hunter1');
  const path = join(directory, 'profiles.yaml');
  put(path, `profiles: {a: {environment: {TOKEN: {file: ${secret}}}}, b: {}}`);
  const { profiles, log } = await open(t, path);
  const keys = () => ['a', 'b'].map((name) => keyOf(profiles.forToken('n8n', name)));
  const [a, b] = keys();
  let told = 0;
  profiles.onChange(() => told++);
  put(secret, 'hunter2');
  t.match(await log.logged('secrets_changed'), { profiles: ['a'] });
  t.not(keys()[0], a);
  t.equal(keys()[1], b);
  t.equal(told, 1);
  const renewed = keys();
  rmSync(secret);
  put(path, `profiles: {a: {environment: {TOKEN: {file: ${secret}}}}, b: {}} # again`);
  await until('it was looked at', () => log.count('profiles_loaded') === 2);
  t.same(keys(), renewed, 'without the file what runs is good as it is');
  t.notMatch(log.text + JSON.stringify(profiles.all()), /hunter/);
});

t.test('a denied tool is named with the line that would allow it', (t) => {
  const bash = { tool_name: 'Bash', tool_input: { command: 'git diff --stat main' } };
  const own = review('tools: {allow: [Read], deny: ["Bash(git push:*)", WebFetch]}');
  t.match(warningsOf([bash, bash, { tool_name: 'WebFetch' }], own), [
    /^the tool Bash was denied; .*add "Bash\(git diff:\*\)" to profiles\.review\.tools\.allow in the profiles file, unless profiles\.review\.tools\.deny \(Bash\(git push:\*\)\)/,
    /^the tool WebFetch was denied; .*remove it from profiles\.review\.tools\.deny/,
  ]);
  t.match(warningsOf([{ tool_name: 'Write' }], builtInProfile(0)), [
    /add "Edit\(\.\/\*\*\)" to permissions\.allow in settings\.json of the \.claude repository/,
  ]);
  const secret = { tool_name: 'Bash', tool_input: { command: 'curl -H "Authorization: hunter2"' } };
  t.notMatch(warningsOf([secret], own).join(), /hunter2/);
  t.end();
});

t.test('a tool that the profile hides is recognised in the output of the CLI', (t) => {
  const said = '<tool_use_error>Error: No such tool available: Bash. Bash is disabled';
  t.equal(hiddenTool(said), 'Bash');
  t.equal(hiddenTool('Error: No such file'), undefined);
  t.same(hiddenTools([said], builtInProfile(0), undefined), [], 'nothing hides it: it is no tool');
  t.match(hiddenTools([said, said], builtInProfile(0), ['Read']), [
    /^the tool Bash was not available; .*allowed_tools of the request$/,
  ]);
  t.end();
});
