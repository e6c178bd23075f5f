/** What priming a real CLI process leaves behind: nothing that the model is shown or asked. */
import t from 'tap';
import { prepareWorker } from '../../../supervisor/pool/prepare.ts';
import { makeSurroundings, startProcess } from '../../support/claude.ts';

t.test('the model is asked nothing, and shown no trace, when a worker is primed', async (t) => {
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
});
