/** The commands and skills that a profile allows by name, with the real CLI. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { reservedCommands } from '../../../../supervisor/claude/reserved-commands.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';
import { blocksOf } from '../../../support/messages-api/request.ts';
import { type MessagesApi, promptText } from '../../../support/messages-api.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const profiles = `
default: review
profiles:
  review:
    tools: {allow: []}
    commands: [review, tea, shell, absent, code-review]
  nothing: {tools: {allow: []}}
  skills: {tools: {allow: [Skill]}}
`;

const files = {
  'profiles.yaml': profiles,
  'settings.json': '{}',
  'commands/review.md': 'Review this: [$ARGUMENTS] first=[$1]\n',
  'commands/other.md': 'Another one\n',
  'commands/shell.md': '---\nallowed-tools: Bash\n---\n!`touch by-a-command`\n',
  'skills/tea/SKILL.md': '---\nname: tea\ndescription: Brews.\n---\nBrew it with $ARGUMENTS.\n',
};

const surroundings = await makeSurroundings(t);
for (const [name, text] of Object.entries(files)) {
  const path = join(surroundings.config, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
const secret = 'a-secret-in-a-file';
for (const name of ['notes.txt', 'login.txt'])
  writeFileSync(join(surroundings.workspace, name), secret);
const running = await startWithRealCli(t, {
  surroundings,
  settings: { BERTH_PROFILES_FILE: join(surroundings.config, 'profiles.yaml') },
});

/** What the newest request has said as the user since the last answer. */
function said({ requests }: MessagesApi): string[] {
  const messages = requests.at(-1)?.body?.messages ?? [];
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  return messages
    .slice(last + 1)
    .filter(({ role }) => role === 'user')
    .flatMap(({ content }) => blocksOf(content).map(({ text }) => text ?? ''));
}

const hostile = 'look @notes.txt and !`touch injected` $HOME $(id) /model opus @srv:res://one';
let session_id: string | undefined;

t.test('a command that the profile allows is run, and its arguments are text', async (t) => {
  const answer = await running.prompt(`/review ${hostile}`);
  t.match(answer, { status: 200, body: { is_error: false } });
  session_id = answer.body.session_id;
  const texts = said(surroundings.api);
  t.ok(texts.some((text) => text.includes(`<command-args>${hostile}</command-args>`)));
  const body = texts.find((text) => text.startsWith('Review this'));
  // The CLI itself takes the sting out of what would be a shell command.
  const quoted = hostile.replace('!`', '\\! `');
  t.equal(body?.trimEnd(), `Review this: [${quoted}] first=[@notes.txt]`);
  t.notMatch(JSON.stringify(surroundings.api.requests.at(-1)?.body), secret);
  t.notOk(existsSync(join(surroundings.workspace, 'injected')));
});

t.test('a skill is run the same way, with arguments on the next line as well', async (t) => {
  t.match(await running.prompt('/tea\ngreen @notes.txt', { session_id }), { status: 200 });
  t.ok(said(surroundings.api).some((text) => text.endsWith('Brew it with green @notes.txt.\n')));
});

t.test(
  'a command that is not allowed, missing or built into the CLI is sent as text',
  async (t) => {
    for (const text of [
      '/other x',
      '/REVIEW x',
      ' /review x',
      '/review\u00a0x',
      '//review',
      '/model',
    ]) {
      const { status, body } = await running.prompt(text, { session_id });
      t.match({ status, body }, { status: 200, body: { warnings: [] } }, text);
      t.strictSame(said(surroundings.api), [text]);
    }
    // `code-review` is a skill of the CLI, and `absent` of nobody.
    for (const name of ['absent', 'code-review']) {
      const { status, body } = await running.prompt(`/${name} x`, { session_id });
      t.equal(status, 200);
      t.match(body.warnings, [new RegExp(`^the command /${name} was not run`)]);
      t.strictSame(said(surroundings.api), [`/${name} x`]);
    }
    t.match(await running.prompt('/review x', { profile: 'nothing' }), { status: 200 });
    t.equal(said(surroundings.api).at(-1), '/review x');
  },
);

t.test('a command gets no tools that the profile does not allow', async (t) => {
  const { status, body } = await running.prompt('/shell', { session_id });
  t.match({ status, body }, { status: 502, body: { code: 'turn_failed' } });
  t.match(body.detail, /^cannot run the command \/shell: .*Bash.*profiles\.review\.tools\.allow$/);
  t.notOk(existsSync(join(surroundings.workspace, 'by-a-command')));
  t.equal(readFileSync(join(surroundings.config, 'settings.json'), 'utf8'), '{}');
});

t.test('a model that may only call skills cannot read a file by mentioning the file', async (t) => {
  const input = { skill: 'tea', args: `green @${join(surroundings.workspace, 'login.txt')}` };
  const prompt = `[[tool Skill ${JSON.stringify(input)}]]`;
  t.match(await running.prompt(prompt, { profile: 'skills' }), { status: 200 });
  const sent = JSON.stringify(surroundings.api.requests.at(-1)?.body);
  t.match(sent, 'Brew it with green', 'the skill was loaded');
  t.notMatch(sent, secret);
});

t.test('none of the CLI’s own commands counts as one of the user', async (t) => {
  const child = startProcess(t, { ...surroundings });
  await child.control({ subtype: 'initialize' });
  const own = [...child.ownCommands].sort();
  t.strictSame(own, ['other', 'review', 'shell', 'tea']);
  const init = await child.run('Which are there?', () => {});
  t.equal(init.isError, false);
  t.equal(promptText(surroundings.api.requests.at(-1) as never), 'Which are there?');
  t.notOk(own.some((name) => reservedCommands.has(name)));
});
