import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cliEnvironment } from '../../../../supervisor/claude/environment.ts';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import { launchOf } from '../../../../supervisor/profiles/launch.ts';
import type { Overrides } from '../../../../supervisor/profiles/overrides.ts';
import type { Profile } from '../../../../supervisor/profiles/profile.ts';
import { readProfiles } from '../../../../supervisor/profiles/read.ts';
import { makeSurroundings, type Surroundings, startProcess } from '../../../support/claude.ts';
import { testDirectory } from '../../../support/directory.ts';
import { promptText, systemText } from '../../../support/messages-api.ts';

t.jobs = 2;

const path = join(import.meta.dirname, '../../../../manifests/examples/profiles.yaml');
const bounds = { warmWorkers: 1, maxWorkers: 4 };

function profileOf(name: string, text = readFileSync(path, 'utf8')): Profile {
  const profile = readProfiles(text, path, bounds).profiles.get(name);
  if (!profile) throw new Error(`there is no profile ${name}`);
  return profile;
}

const review = (text: string) => profileOf('review', `profiles: {review: {${text}}}`);

/** The real CLI as the profile has it started. */
async function start(t: Test, around: Surroundings, profile: Profile, overrides: Overrides = {}) {
  const { options, environment } = launchOf(profile, overrides, around.config);
  const process = startProcess(t, around, {
    arguments: cliArguments(options),
    environment: cliEnvironment(around.inherited, around.config, 'worker-1', environment),
  });
  return {
    process,
    /** Has the model call a tool; gives what it was answered, and the tools that were denied. */
    async use(tool: string, input: object) {
      const result = await process.run(`[[tool ${tool} ${JSON.stringify(input)}]]`);
      return {
        answer: result.result,
        denied: result.permissionDenials.map(({ tool_name }) => tool_name),
      };
    },
    /** The last request of a turn. */
    request() {
      const found = around.api.requests.findLast(
        (each) => each.path.startsWith('/v1/messages?') && promptText(each) !== '',
      );
      if (!found) throw new Error('nothing was asked');
      return found;
    },
  };
}

/** Names of the tools that the model was offered. */
function toolsIn({ body }: { body: { tools?: { name: string }[] } | undefined }): string[] {
  const names = body?.tools?.map(({ name }) => name) ?? [];
  return names.filter((name) => name !== 'DeferredToolPlaceholder').sort();
}

/** A repository of two commits to look at. */
function makeRepository(workspace: string): void {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: workspace, stdio: 'ignore' });
  git('init', '-q');
  for (const text of ['one', 'two']) {
    writeFileSync(join(workspace, 'a.txt'), `${text}\n`);
    git('add', '.');
    git('-c', 'user.name=a', '-c', 'user.email=a@example.com', 'commit', '-qm', text);
  }
}

const everything = JSON.stringify({ permissions: { allow: ['Bash', 'Write', 'Edit', 'Read'] } });

t.test(
  'the read-only profile reads only its directory, whatever settings.json allows',
  async (t) => {
    const around = await makeSurroundings(t, { 'settings.json': everything });
    writeFileSync(join(around.workspace, 'a.txt'), 'inside\n');
    const { use, request } = await start(t, around, profileOf('read-only'));
    t.match(await use('Read', { file_path: 'a.txt' }), { answer: /inside/, denied: [] });
    t.match(await use('Grep', { pattern: 'insi' }), { answer: /a\.txt/, denied: [] });
    t.same(toolsIn(request()), ['Glob', 'Grep', 'Read']);
    const outside = join(around.config, 'settings.json');
    t.match(await use('Read', { file_path: outside }), { denied: ['Read'] });
    t.match(await use('Grep', { pattern: 'allow', path: outside }), { denied: ['Grep'] });
    t.match(await use('Bash', { command: 'touch b.txt' }), {
      answer: /No such tool available: Bash/,
    });
    t.match(await use('Write', { file_path: 'b.txt', content: 'x' }), { answer: /No such tool/ });
    t.notOk(existsSync(join(around.workspace, 'b.txt')));
  },
);

t.test('the code-review profile reads a change with git and changes nothing', async (t) => {
  const around = await makeSurroundings(t, { 'settings.json': everything });
  makeRepository(around.workspace);
  const { use, request } = await start(t, around, profileOf('code-review'));
  const diff = await use('Bash', { command: 'git diff HEAD~1...HEAD' });
  t.match(diff, { answer: /\+two/, denied: [] });
  t.match(systemText(request()), /You review code\./);
  t.same(toolsIn(request()), ['Bash', 'Glob', 'Grep', 'Read']);
  for (const command of ['touch b.txt', 'git commit --amend -m x', 'git diff --output=b.txt']) {
    t.match(await use('Bash', { command }), { denied: ['Bash'] }, command);
  }
  t.notOk(existsSync(join(around.workspace, 'b.txt')));
});

t.test('documentation writes where documents are, and not elsewhere', async (t) => {
  const around = await makeSurroundings(t, { 'settings.json': everything });
  const { use } = await start(t, around, profileOf('documentation'));
  const write = (file_path: string) => use('Write', { file_path, content: 'text' });
  t.same((await write('docs/guide.md')).denied, []);
  t.same((await write('README.md')).denied, []);
  t.same((await write('main.ts')).denied, ['Write']);
  t.notOk((await write('docs/adr/1.md')).answer.includes('created'));
  t.ok(existsSync(join(around.workspace, 'docs/guide.md')));
  t.notOk(existsSync(join(around.workspace, 'main.ts')));
  t.notOk(existsSync(join(around.workspace, 'docs/adr')));
});

t.test('maintenance changes and commits, and does not push', async (t) => {
  const around = await makeSurroundings(t);
  makeRepository(around.workspace);
  const { use } = await start(t, around, profileOf('maintenance'));
  t.same((await use('Write', { file_path: 'a.txt', content: 'three' })).denied, []);
  t.same((await use('Bash', { command: 'git add a.txt' })).denied, []);
  const commit = await use('Bash', { command: 'git commit -m three' });
  t.match(commit, { answer: /1 file changed/, denied: [] }, 'the variables name who commits');
  t.same((await use('Bash', { command: 'git push origin main' })).denied, ['Bash']);
  t.same((await use('Bash', { command: 'npx something' })).denied, ['Bash']);
});

t.test(
  'the built-in profile allows what settings.json allows; a request can only allow less',
  async (t) => {
    const around = await makeSurroundings(t, { 'settings.json': everything });
    const profile = profileOf('default');
    const all = await start(t, around, profile);
    t.same((await all.use('Bash', { command: 'touch a.txt' })).denied, []);
    const some = await start(t, around, profile, { allowedTools: ['Read', 'WebFetch'] });
    t.match(await some.use('Bash', { command: 'touch b.txt' }), { answer: /No such tool/ });
    const fetched = await some.use('WebFetch', { url: 'http://127.0.0.1:9/', prompt: 'x' });
    t.same(fetched.denied, ['WebFetch'], 'naming a tool does not allow it');
  },
);

t.test('a profile with its own rules, instructions and limits, in one process', async (t) => {
  const around = await makeSurroundings(t, {
    'settings.json': JSON.stringify({
      permissions: { deny: ['Bash(rm:*)'], ask: ['Bash(mv:*)'], defaultMode: 'acceptEdits' },
    }),
  });
  const secret = join(around.config, '../secret');
  writeFileSync(secret, 'made-up-value\n');
  const profile = review(
    `model: haiku, system_prompt: "--ours", append_system_prompt: ours too, limits: {max_turns: 2},
    environment: {SERVER_TOKEN: {file: "${secret}"}, PLAIN: "1"},
    tools: {allow: [Bash, "Edit(docs/**)", mcp__here__look]},
    mcp: {strict: true, servers: {here: {command: "${process.execPath}", args: ["-e", "0"],
      env: {TOKEN: "\${SERVER_TOKEN}"}}}}`,
  );
  const overrides = { appendSystemPrompt: 'and mine', model: 'sonnet' };
  const { process: worker, use, request } = await start(t, around, profile, overrides);

  await t.test(
    'a deny rule in settings.json stays in force, and its mode adds no permission',
    async (t) => {
      t.same((await use('Bash', { command: 'touch a.txt' })).denied, []);
      t.same((await use('Bash', { command: 'rm a.txt' })).denied, ['Bash']);
      t.same((await use('Bash', { command: 'mv a.txt b.txt' })).denied, ['Bash']);
      t.same((await use('Write', { file_path: 'x', content: 'y' })).denied, ['Write']);
    },
  );

  await t.test(
    'model, instructions and limits reach the CLI, a secret does not reach its flags',
    async (t) => {
      const { options } = launchOf(profile, {}, around.config);
      t.notMatch(cliArguments(options).join('\n'), /made-up-value/);
      t.match(cliArguments(options).join('\n'), /\$\{SERVER_TOKEN\}/);
      const check =
        'test "$PLAIN$SERVER_TOKEN" = 1made-up-value && test "$BERTH_WORKER" = worker-1';
      t.match(await use('Bash', { command: `${check}` }), { denied: [] });
      t.match(systemText(request()), /--ours\n\nours too\n\nand mine/);
      t.match(request().body?.model, /sonnet/);
      t.match(await worker.run('[[tools endless]]'), { subtype: 'error_max_turns' });
      t.match(await worker.run('hello'), { subtype: 'success' }, 'each prompt has its turns');
    },
  );
});

t.test('the error for a missing secret file names the line of the profile', async (t) => {
  const profile = review('environment: {TOKEN: {file: /nowhere/token}}');
  t.throws(() => launchOf(profile, {}, '/nowhere'), {
    code: 'cli_unavailable',
    message: /variable TOKEN cannot be read .*profiles\.review\.environment\.TOKEN\.file/,
  });
});

t.test('a settings.json that is a link or no JSON forbids nothing', async (t) => {
  const { readForbidding } = await import('../../../../supervisor/profiles/settings-rules.ts');
  const folder = testDirectory(t, {
    broken: { 'settings.json': '{"permissions":' },
    link: { 'settings.json': t.fixture('symlink', '../broken/settings.json') },
    odd: { 'settings.json': '{"permissions":{"deny":["A",3,"B\\n"],"ask":7}}' },
  });
  mkdirSync(join(folder, 'none'));
  for (const name of ['broken', 'link', 'none']) {
    t.same(readForbidding(join(folder, name)), []);
  }
  t.same(readForbidding(join(folder, 'odd')), ['A']);
});
