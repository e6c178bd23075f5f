import { once } from 'node:events';
import t, { type Test } from 'tap';
import { testDirectory } from '../support/directory.ts';
import { type RunningClaude, startClaude } from '../support/messages-api/run-claude.ts';
import {
  type MessagesApi,
  promptText,
  type RecordedRequest,
  startMessagesApi,
  systemText,
} from '../support/messages-api.ts';

const skill = '---\nname: tea\ndescription: Brews a tea.\n---\nBrew it.\n';
const config = {
  'CLAUDE.md': '# Rules\n\nAnswer in rhyme.\n',
  skills: { tea: { 'SKILL.md': skill } },
};

async function startApi(t: Test) {
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  return api;
}

// Each test at this level has a server and folders of its own.
t.jobs = 2;

t.test('in one process of the real CLI, a new conversation for each prompt', async (t) => {
  const api = await startApi(t);
  const claude = startClaude(t, api.url, {
    folder: testDirectory(t, { config }),
    args: ['--allowedTools', 'Bash', 'Skill'],
    maxRetries: 0,
  });
  const ask = async (prompt: string) => {
    claude.prompt('/clear');
    await claude.result();
    claude.prompt(prompt);
    return claude.result();
  };

  await t.test('the real CLI gets an answer that shows the input of the model', async (t) => {
    const result = await ask('Good morning');
    t.equal(result.is_error, false);
    t.equal(
      result.result,
      '[stand-in] You said: Good morning\nI was sent CLAUDE.md, which begins: Answer in rhyme.',
    );
    const request = await api.waitForRequest((request) => promptText(request) === 'Good morning');
    t.match(systemText(request), 'Answer in rhyme.');
    t.notMatch(systemText(request), 'Good morning');
  });

  await t.test(
    'the answer to a question about skills lists the skills that the model received',
    async (t) => {
      const result = await ask('Which skills do you have?');
      t.match(result.result, /^\[stand-in\] I was sent \d+ skills:\n- tea: Brews a tea\.\n/);
    },
  );

  await t.test(
    'a skill that was called by its name counts as typed, its body does not',
    async (t) => {
      const result = await ask('/tea green [[say It is ready.]]');
      t.equal(result.result, 'It is ready.');
      t.equal(api.requests.map(promptText).at(-1), '/tea green [[say It is ready.]]');
    },
  );

  await t.test('say answers with exactly this text', async (t) => {
    const result = await ask('Hello [[say exactly {"this": "text"}]]');
    t.equal(result.result, 'exactly {"this": "text"}');
  });

  await t.test('big answers with that many bytes', async (t) => {
    const result = await ask('[[big 2000000]]');
    t.equal(result.result?.length, 2_000_000);
  });

  await t.test('echo system answers with the instructions', async (t) => {
    const result = await ask('[[echo system]]');
    t.match(result.result, 'Answer in rhyme.');
  });

  await t.test(
    'the model calls a tool, and the answer quotes the output of the tool',
    async (t) => {
      const prompt = '[[tool Bash {"command":"echo $((40 + 2)) ]]"}]]';
      const result = await ask(prompt);
      t.equal(result.result, '[stand-in] The tool answered: 42 ]]');
    },
  );

  await t.test('several tools are called one after the other', async (t) => {
    const prompt =
      '[[tool Bash {"command":"touch a"}]] [[tool Skill {"skill":"tea"}]] ' +
      '[[tool Bash {"command":"ls"}]]';
    const result = await ask(prompt);
    t.equal(result.result, '[stand-in] The tool answered: a');
  });

  await t.test('a status without a count stays', async (t) => {
    const result = await ask('[[status 401]]');
    t.match(result, { is_error: true, terminal_reason: 'api_error', api_error_status: 401 });
  });

  await t.test('an unknown directive is an error that names it', async (t) => {
    const result = await ask('[[dance]]');
    t.match(result, { is_error: true, result: /the stand-in knows no \[\[dance\]\]/ });
  });

  await t.test('a dropped stream is an error of the connection', async (t) => {
    const result = await ask('[[drop]]');
    t.match(result, { is_error: true, terminal_reason: 'api_error' });
  });

  await t.test('a handler answers before the directives do', async (t) => {
    api.reply((request) => (promptText(request) === 'ping' ? { text: 'pong' } : undefined));
    t.equal((await ask('ping')).result, 'pong');
    t.equal((await ask('[[say else]]')).result, 'else');
    api.reply(undefined);
  });

  // If it fails, the CLI may hang for the rest of this test.
  await t.test('in one conversation each prompt is answered by its own directives', async (t) => {
    const answers: (string | undefined)[] = [(await ask('[[say one]]')).result];
    for (const prompt of ['[[status 403]]', '[[tool Bash {"command":"echo 2"}]]']) {
      claude.prompt(prompt);
      answers.push((await claude.result()).result);
    }
    claude.prompt('[[hang headers]]');
    await api.waitForRequest((request) => promptText(request) === '[[hang headers]]');
    claude.control('interrupt');
    t.match(await claude.result(), { terminal_reason: 'aborted_streaming' });
    for (const prompt of ['/clear', '[[say three]]', 'plain']) {
      claude.prompt(prompt);
      answers.push((await claude.result()).result);
    }
    t.match(answers, ['one', /403/, '[stand-in] The tool answered: 2', '', 'three', /said: plain/]);
  });

  await t.test('hang stream holds the call until the CLI goes away', async (t) => {
    claude.prompt('[[hang stream]]');
    await holdsUntilEnd(t, { api, claude }, '[[hang stream]]');
  });
});

t.test('in one process that retries and has a limit of calls', async (t) => {
  const api = await startApi(t);
  const claude = startClaude(t, api.url, {
    folder: testDirectory(t, { config }),
    args: ['--allowedTools', 'Bash', '--max-turns', '4'],
  });

  await t.test('a status with a count is overcome by retrying', async (t) => {
    claude.prompt('[[status 529 x1]] [[say at last]]');
    t.equal((await claude.result()).result, 'at last');
    t.equal(api.requests.length, 2);
  });

  await t.test('endless tools end only by a limit of the CLI', async (t) => {
    claude.prompt('[[tools endless]]');
    t.equal((await claude.result()).subtype, 'error_max_turns');
  });

  await t.test('hang headers holds the call until the CLI goes away', async (t) => {
    claude.prompt('[[hang headers]]');
    await holdsUntilEnd(t, { api, claude }, '[[hang headers]]');
  });
});

/** The call of that prompt hangs until the CLI is ended, and is broken off then. */
async function holdsUntilEnd(
  t: Test,
  { api, claude }: { api: MessagesApi; claude: RunningClaude },
  prompt: string,
) {
  const isCall = (request: RecordedRequest): boolean =>
    promptText(request) === prompt && request.outcome !== 'abandoned';
  const request = await api.waitForRequest(isCall);
  if (prompt === '[[hang stream]]') {
    await claude.next((line) => line.event?.type === 'content_block_delta');
  }
  t.equal(request.outcome, 'pending');
  claude.child.kill('SIGTERM');
  await once(claude.child, 'exit');
  await api.waitForRequest(() => request.outcome === 'abandoned');
}
