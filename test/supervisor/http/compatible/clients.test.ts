import t from 'tap';
import { anthropicSuite } from '../../../support/client-suites/anthropic.ts';
import { langchainSuite } from '../../../support/client-suites/langchain.ts';
import { openaiSuite } from '../../../support/client-suites/openai.ts';
import { startSupervisor, token } from '../../../support/supervisor.ts';

// One supervisor with the scripted CLI serves all libraries. test/series/clients.test.ts has the real CLI.
const { url, surroundings, log } = await startSupervisor(t, {
  settings: { BERTH_MAX_WORKERS: '4' },
  environment: { CLAUDE_CODE_MAX_RETRIES: '0' },
});
const target = { url, token, api: surroundings.api, turns: 3 };

await t.test('the library of Anthropic works unmodified', (t) => anthropicSuite(t, target));
await t.test('the library of OpenAI works unmodified', (t) => openaiSuite(t, target));
await t.test('the library of LangChain works unmodified', (t) => langchainSuite(t, target));
t.notMatch(log.text, token, 'no log line has the token');
t.notMatch(log.text, 'somebody-private', 'no log line has the user of metadata');
