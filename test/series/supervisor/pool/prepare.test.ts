/** What priming a real CLI process leaves behind: nothing that the model is shown or asked. */
import t from 'tap';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import { prepareWorker } from '../../../../supervisor/pool/prepare.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';

t.test(
  'preparing a worker sends no request to the model and leaves no trace in the messages',
  async (t) => {
    const surroundings = await makeSurroundings(t);
    const { api } = surroundings;
    const primed = startProcess(t, surroundings);
    await prepareWorker(primed, { sessionId: undefined, resumes: false });
    t.equal(api.requests.filter(({ method }) => method === 'POST').length, 0, 'nothing was asked');

    await primed.run('Say it. [[say ok]]');
    const unprimed = startProcess(t, surroundings);
    await unprimed.run('Say it. [[say ok]]');

    const asked = api.requests.filter(({ method }) => method === 'POST');
    const [first, second] = asked.map(({ body }) => JSON.stringify(body?.messages));
    t.equal(asked.length, 2);
    t.equal(first, second, 'as a process that was not primed');
  },
);

t.test('a start waits for MCP servers as long as the CLI itself, by MCP_TIMEOUT', async (t) => {
  const surroundings = await makeSurroundings(t);
  const mute = { mute: { command: 'sleep', args: ['1000'] } };
  const start = () =>
    startProcess(t, surroundings, { arguments: cliArguments({ mcpServers: mute }) });
  const order = { sessionId: undefined, resumes: false };
  surroundings.inherited.MCP_TIMEOUT = '3000';
  await prepareWorker(start(), order, 100);
  delete surroundings.inherited.MCP_TIMEOUT;
  await t.rejects(prepareWorker(start(), order, 100), { code: 'cli_unavailable' });
});
