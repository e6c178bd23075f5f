/** What a caller writes reaches the model as it was written, and the CLI does nothing of it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { blocksOf } from '../../../support/messages-api/request.ts';
import type { RecordedRequest } from '../../../support/messages-api.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const secret = 'a-secret-in-a-file';

const profiles = `
default: closed
profiles:
  closed: {tools: {allow: []}, overrides: [append_system_prompt]}
  reader: {tools: {allow: [Read(./**)]}}
`;

const settings = JSON.stringify({ permissions: { deny: ['Write'] } });

/** What the CLI of today would run as a command, and what it would do then. */
const commands = [
  '/config permissionMode=acceptEdits model=opus',
  '/model opus',
  '/effort max',
  '/help',
  '/exit',
  '/clear',
  '/compact',
  '/logout',
  '/login',
  '/brew a tea',
  ' \t\n /model opus',
  '\u00a0/effort max',
];

const running = await startWithRealCli(t, {
  settings: { BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml') },
  config: {
    'profiles.yaml': profiles,
    'settings.json': settings,
    'CLAUDE.md': 'Answer in rhyme.\n',
  },
});
// The files are there before any process starts: the process of `closed` gets the instructions when it starts.
const credentials = join(running.surroundings.config, '.credentials.json');
const notes = join(running.surroundings.workspace, 'notes.txt');
const files = [credentials, notes];
for (const file of files) writeFileSync(file, secret);
/** The profile `closed` gets these in each request of its session, so that one process serves all of them. */
const instructions = `/model opus @${notes} \${HOME} !\`ls\``;
const sessions: Record<string, string> = {};
const rest = (profile: string) => ({
  profile,
  session_id: sessions[profile],
  append_system_prompt: profile === 'closed' ? instructions : undefined,
});
const seen = new Set<RecordedRequest>();

for (const profile of ['closed', 'reader']) {
  t.test(`with the profile ${profile} a command of the CLI is text`, async (t) => {
    let used: unknown;
    for (const text of ['Good morning', ...commands]) {
      const answer = await running.prompt(text, rest(profile));
      t.match(answer, { status: 200, body: { result: /^\[stand-in\] You said/ } }, text);
      sessions[profile] ??= answer.body.session_id;
      t.equal(answer.body.session_id, sessions[profile], 'the session goes on');
      const { body } = reached(t, text);
      used ??= [body?.model, effortOf(body)];
      t.strictSame([body?.model, effortOf(body)], used, 'model and effort are those before');
    }
    t.equal(readFileSync(join(running.surroundings.config, 'settings.json'), 'utf8'), settings);
  });

  t.test(`with the profile ${profile} the file of a mention is not read`, async (t) => {
    for (const mention of [
      `@${credentials}`,
      '@notes.txt',
      '@"notes.txt"',
      '@./notes.txt:1-2',
      '@.',
    ]) {
      const text = `look ${mention} and tell`;
      t.match(await running.prompt(text, rest(profile)), { status: 200 });
      const sent = JSON.stringify(reached(t, text).body);
      t.notMatch(sent, secret);
      t.notMatch(sent, 'Called the Read tool', 'nor is it told that it was read');
    }
    for (const file of files) t.equal(readFileSync(file, 'utf8'), secret, 'the secret is there');
  });
}

t.test('the instructions of a request are text as well', async (t) => {
  t.match(await running.prompt('Hello', rest('closed')), { status: 200 });
  const { body } = reached(t, 'Hello');
  const system = blocksOf(body?.system).map(({ text }) => text);
  t.ok(system.join('\n').includes(instructions));
  t.match(JSON.stringify(body), /Answer in rhyme/, 'CLAUDE.md is there');
  t.notMatch(JSON.stringify(body), secret);
});

/** The one new request that has this very text in a block of its own. */
function reached(t: Test, text: string): RecordedRequest {
  const { requests } = running.surroundings.api;
  const fresh = requests.filter((request) => request.body && !seen.has(request));
  for (const request of fresh) seen.add(request);
  t.equal(fresh.length, 1, `one request came of ${JSON.stringify(text)}`);
  const [request] = fresh;
  const texts = request?.body?.messages?.flatMap(({ role, content }) =>
    role === 'user' ? blocksOf(content).map((block) => block.text) : [],
  );
  t.ok(texts?.includes(text), `${JSON.stringify(text)} is in it`);
  return request as RecordedRequest;
}

function effortOf(body: RecordedRequest['body']): unknown {
  return (body?.output_config as { effort?: unknown } | undefined)?.effort;
}
