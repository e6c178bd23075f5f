import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { readProfiles } from '../../../supervisor/profiles/read.ts';
import { jsonSchema } from '../../../supervisor/profiles/schema.ts';

const root = join(import.meta.dirname, '../../..');
const example = readFileSync(join(root, 'manifests/examples/profiles.yaml'), 'utf8');
const read = (text: string, bounds = { warmWorkers: 1, maxWorkers: 4 }) =>
  readProfiles(text, '/etc/berth/profiles.yaml', bounds);

/** What is said to be wrong with a file. */
function problemsIn(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    if (error instanceof BerthError && error.code === 'config_invalid') {
      return error.details.problems as string[];
    }
    throw error;
  }
  return [];
}

t.test(
  'the example for repositories is right, and its sessions have directories of their own',
  (t) => {
    const set = read(readFileSync(join(root, 'examples/profiles/workspaces.yaml'), 'utf8'));
    t.match(set.profiles.get('repository-fix'), {
      workingDirectory: 'session',
      workspaces: { publish: true, instructions: true, default: undefined },
    });
    t.match(set.profiles.get('repository-review'), {
      workspaces: { repos: ['your-name/*'], publish: false, author: undefined },
    });
    const given = (rest: string) => problemsIn(`profiles: {a: {workspaces: {${rest}}}}`);
    t.match(given('repos: [../x]'), [/a repository, such as you\/app/]);
    t.match(given('repos: [a/b], default: {repo: a/c}'), [/is not in profiles.a.workspaces.repos/]);
    t.match(given('repos: [a/b], author: {name: "x <y>", email: z}'), [/a name/]);
    t.end();
  },
);

t.test('the example file is valid, and each omitted field has its default', (t) => {
  const set = read(example);
  t.same(
    [...set.profiles.keys()],
    ['read-only', 'code-review', 'documentation', 'maintenance', 'default'],
  );
  t.match(set.profiles.get('maintenance'), {
    builtIn: false,
    limits: { memory: 2 * 2 ** 30, timeout: 240_000, dailyBudgetUsd: 10 },
    warm: 0,
    workingDirectory: 'session',
    tokens: undefined,
    overrides: ['timeout'],
  });
  t.end();
});

t.test('the component has the same profiles, and requests that name none may only read', (t) => {
  const component = readFileSync(join(root, 'manifests/components/profiles/profiles.yaml'), 'utf8');
  const set = read(component);
  t.equal(set.defaultProfile, 'read-only');
  const names = (text: string) => [...read(text).profiles.keys()];
  t.same(
    names(component),
    names(example).filter((name) => name !== 'default'),
  );
  t.end();
});

t.test('each program that the example allows for Bash is in the image', (t) => {
  const image = readFileSync(join(root, 'Dockerfile.runtime'), 'utf8');
  const [, packages = ''] =
    /apt-get install -y --no-install-recommends (.*?) &&/s.exec(image) ?? [];
  const programs = [...packages.split(/\s+/), 'node', 'rg'];
  const rules = [...example.matchAll(/^ +- Bash\((\w+)/gm)].map(([, program]) => program ?? '');
  t.ok(rules.includes('git'));
  t.same(
    rules.filter((program) => !programs.includes(program)),
    [],
  );
  t.end();
});

t.test('the JSON schema for editors accepts the same files as the program', (t) => {
  const schema = jsonSchema();
  t.same(JSON.parse(readFileSync(join(root, 'docs/profiles.schema.json'), 'utf8')), schema);
  const check = new Ajv({ strict: false, validateFormats: false }).compile(schema);
  t.ok(check({ profiles: { review: { limits: { max_turns: 3 }, overrides: ['model'] } } }));
  t.notOk(check({ profiles: { review: { limits: { max_turn: 3 } } } }));
  t.notOk(check({ profiles: { review: { overrides: ['prompt'] } } }));
  t.end();
});

t.test('all problems are reported at once, each with its path and its line', (t) => {
  const text = `profiles:
  review:
    limts: {}
    limits:
      max_turns: 0
      timeout: 5x
      memory: lots
    tools:
      allow: [Read, "--dangerously", "Write(docs/**)"]
    environment:
      FOO: 3
      TOKEN: {file: relative}
    overrides: [model, prompt]
    mcp: {servers: {github: {comand: gh}}}
  not a name: {}
  empty:
`;
  const problems = problemsIn(text);
  const expected = [
    /^profiles\.review\.limts, line 3: unknown key; did you mean limits\?$/,
    /^profiles\.review\.limits\.max_turns, line 5: expected a whole number from 1 to 10000$/,
    /^profiles\.review\.limits\.timeout, line 6: expected a duration .*such as 30s or 5m$/,
    /^profiles\.review\.limits\.memory, line 7: expected a size/,
    /^profiles\.review\.tools\.allow\[1\], line 9: expected a tool/,
    /^profiles\.review\.tools\.allow\[2\], line 9: expected Edit\(path\)/,
    /^profiles\.review\.environment\.FOO, line 11: expected a text in quotes/,
    /^profiles\.review\.environment\.TOKEN\.file, line 12: expected an absolute path$/,
    /^profiles\.review\.overrides\[1\], line 13: expected one of model, /,
    /^profiles\.review\.mcp\.servers\.github, line 14: expected an MCP server/,
    /^profiles\.not a name, line 15: expected a name/,
    /^profiles\.empty, line 16: expected a map$/,
  ];
  t.equal(problems.length, expected.length, problems.join('\n'));
  for (const [index, pattern] of expected.entries()) t.match(problems[index], pattern);
  t.end();
});

t.test(
  "shares of the account are percentages; the file's own count where a profile has none",
  (t) => {
    const { profiles } = read(`quota_background: {five_hour: 40%}
profiles:
  review:
    limits: {quota: {five_hour: 60%, seven_day: 80%}, prompts_per_hour: 30}
  nightly:
    limits: {quota_background: {seven_day: 100%}}
`);
    t.match(profiles.get('review')?.limits, {
      quota: { fiveHour: 0.6, sevenDay: 0.8 },
      quotaBackground: { fiveHour: 0.4, sevenDay: undefined },
      promptsPerHour: 30,
    });
    t.match(profiles.get('nightly')?.limits, { quota: {}, quotaBackground: { sevenDay: 1 } });
    t.match(profiles.get('default')?.limits, { quotaBackground: { fiveHour: 0.4 } });
    for (const share of ['0.6', '60', '0%', '150%', '"60 %"', '6.5%', '-1%']) {
      t.match(problemsIn(`profiles: {review: {limits: {quota: {five_hour: ${share}}}}}`), [
        /^profiles\.review\.limits\.quota\.five_hour, line 1: expected a share from 1% to 100%, such as 60%$/,
      ]);
    }
    t.match(problemsIn('profiles: {review: {limits: {quota: {five_hours: 60%}}}}'), [
      /five_hours, line 1: unknown key; did you mean five_hour\?$/,
    ]);
    t.match(problemsIn('profiles: {review: {limits: {prompts_per_hour: 0}}}'), [
      /prompts_per_hour, line 1: expected a whole number from 1 to 10000$/,
    ]);
    t.end();
  },
);

t.test(
  'commands of the user can be allowed; commands that change the CLI can never be allowed',
  (t) => {
    const allow = (commands: string) => `profiles: {review: {commands: [${commands}]}}`;
    const { profiles } = read(allow('review, my-skill, "team:deploy", größe'));
    t.same(profiles.get('review')?.commands, ['review', 'my-skill', 'team:deploy', 'größe']);
    t.same(profiles.get('default')?.commands, []);
    for (const name of ['config', 'Model', 'effort', 'login', 'exit', 'clear', 'mcp', 'plugin']) {
      t.match(problemsIn(allow(name)), [
        /^profiles\.review\.commands\[0\], line 1: expected a command or skill of the \.claude repository: this command belongs to the CLI and can never be allowed$/,
      ]);
    }
    for (const name of ['/review', '"a b"', '""', '7']) {
      t.match(problemsIn(allow(name)), [/expected the name of a command or skill, such as review/]);
    }
    t.end();
  },
);

const wrong: [what: string, text: string, problem: RegExp][] = [
  ['a key that stands there twice', 'profiles:\n  a: {}\n  a: {}', /^line 3: .*unique/],
  ['no YAML', 'profiles: [', /^line 1: /],
  ['a list', '- a', /^line 1: expected a map/],
  ['nothing in it', '', /^profiles, line 1: expected a map/],
  ['two documents', 'profiles: {}\n---\nprofiles: {}', /^line 2: .*multiple documents/],
  ['a tag of another language', 'profiles: !!js/function x', /^line 1: .*tag/],
  ['nesting without end', '['.repeat(50_000), /^line 1: /],
  [
    'aliases that grow beyond measure',
    `a: &a [${'x,'.repeat(20)}]\nb: &b [${'*a,'.repeat(20)}]\nc: [${'*b,'.repeat(20)}]\nprofiles: {}`,
    /^line 1: Excessive alias count/,
  ],
  [
    'a default that is not there',
    'profiles: {a: {}}\ndefault: b',
    /^default, line 2: the profile does not exist; did you mean a\?/,
  ],
  [
    'a profile for a token that is misspelt',
    'profiles: {review: {}}\ntokens:\n  n8n: {default_profile: reviev}',
    /^tokens\.n8n\.default_profile, line 3: .*did you mean review\?/,
  ],
  [
    'a profile for a token that may not use it',
    'profiles: {review: {tokens: [ops]}}\ntokens:\n  n8n: {default_profile: review}',
    /line 3: the token may not use it; add the token to profiles\.review\.tokens/,
  ],
  [
    'more warm workers than there may be',
    'profiles: {review: {warm: 4}}',
    /^profiles, line 1: together they keep 5 workers warm, above BERTH_MAX_WORKERS \(4\)/,
  ],
];

for (const [what, text, problem] of wrong) {
  t.test(`a file with ${what} is refused`, (t) => {
    t.match(problemsIn(text)[0], problem);
    t.end();
  });
}

t.test('a variable that berth sets or that loads code is refused', (t) => {
  for (const name of ['BERTH_WORKER', 'CLAUDE_CONFIG_DIR', 'DISABLE_TELEMETRY', 'LD_PRELOAD']) {
    const problems = problemsIn(`profiles: {a: {environment: {${name}: "1"}}}`);
    t.match(problems, [/^profiles\.a\.environment\.\w+, line 1: expected a name such as API_KEY/]);
  }
  t.same(problemsIn('profiles: {a: {environment: {ANTHROPIC_MODEL: "x", PATH: /bin}}}'), []);
  t.end();
});

t.test('no problem shows a value of the file', (t) => {
  const text = `profiles:
  a:
    environment: {TOKEN: [hunter2], "hunter3 ": hunter2}
    model: "hunter2 !"
    limits: {max_turns: hunter2, timeout: hunter2}
`;
  t.notMatch(problemsIn(text).join('\n'), /hunter2/);
  t.end();
});

t.test('the built-in profile is there until another default is named', (t) => {
  const warm = { warmWorkers: 2, maxWorkers: 4 };
  const defaults = (text: string) => {
    const set = read(text, warm);
    return [set.defaultProfile, ...set.profiles.keys()];
  };
  t.same(defaults('profiles: {a: {}}'), ['default', 'a', 'default']);
  t.match(read('profiles: {a: {}}', warm).profiles.get('default'), { builtIn: true, warm: 2 });
  t.same(defaults('profiles: {a: {}}\ndefault: a'), ['a', 'a']);
  t.match(read('profiles: {default: {warm: 1}}').profiles.get('default'), { builtIn: false });
  t.end();
});

t.test('profiles can share fields by YAML anchors', (t) => {
  const set = read('profiles:\n  a: &a {warm: 1, model: opus}\n  b: {<<: *a, model: haiku}');
  t.match(set.profiles.get('b'), { warm: 1, model: 'haiku' });
  t.end();
});

t.test('approvals need an approver and a permission mode in which the CLI asks', async (t) => {
  const read = (lines: string) =>
    readProfiles(`profiles: {a: {${lines}}}`, 'x', { warmWorkers: 0, maxWorkers: 1 });
  const rules = 'approvals: {tools: [Edit], approvers: [boss]}';
  t.match(read(rules).profiles.get('a')?.approvals, {
    ...{ tools: ['Edit'], timeout: 1_800_000, approvers: ['boss'], ownPrompts: false },
  });
  t.throws(() => read('approvals: {tools: [Edit]}'), /nobody could decide; add approvers/);
  t.throws(() => read('approvals: {tools: [], approvers: [boss]}'), /at least one tool/);
  t.throws(() => read('approvals: {tools: [Edit], webhook: "file:///x"}'), /http or https URL/);
  t.throws(() => read(`${rules}, permission_mode: dontAsk`), /only manual and acceptEdits/);
});
