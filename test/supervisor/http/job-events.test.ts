import t, { type Test } from 'tap';
import { become } from '../../../supervisor/jobs/job.ts';
import { startApiServer, token } from '../../support/api-server.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';

async function start(t: Test) {
  const jobStore = memoryJobStore();
  const stopping = new AbortController();
  const { url, log } = await startApiServer(t, { jobStore, stopping: stopping.signal });
  const job = jobOf();
  await jobStore.add(job);
  const open = (headers: Record<string, string> = {}, query = '') =>
    fetch(`${url}/v1/jobs/${job.id}/events${query}`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
    });
  const append = (...names: string[]) =>
    jobStore.appendEvents(
      job.id,
      names.map((event) => ({ at: 0, event, data: { is: event } })),
    );
  const end = () => jobStore.update(job.id, (job) => become(job, 'cancelled', Date.now()));
  return { url, log, jobStore, stopping, job, open, append, end };
}

/** The ids and names of the events of a whole stream. */
async function idsOf(response: Response): Promise<string[]> {
  const text = await response.text();
  return text
    .split('\n\n')
    .filter((part) => part.includes('event: '))
    .map((part) => {
      const [, id = '-'] = /^id: (\d+)$/m.exec(part) ?? [];
      const [, event] = /^event: (.+)$/m.exec(part) ?? [];
      return `${id} ${event}`;
    });
}

t.test('a stream has the history, then the new events, and ends with the job', async (t) => {
  const { open, append, end } = await start(t);
  await append('state', 'session');
  const response = await open();
  t.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  await append('text');
  await append('state');
  await end();
  t.same(await idsOf(response), ['1 state', '2 session', '3 text', '4 state']);
});

t.test(
  'Last-Event-ID resumes after any event, and the time of an event is in its data',
  async (t) => {
    const { open, append, end } = await start(t);
    await append('one', 'two', 'three');
    await end();
    for (const [last, rest] of [
      ['0', ['1 one', '2 two', '3 three']],
      ['1', ['2 two', '3 three']],
      ['2', ['3 three']],
    ] as const) {
      t.same(await idsOf(await open({ 'last-event-id': last })), rest);
      t.same(await idsOf(await open({}, `?after=${last}`)), rest);
    }
    const all = await open({ 'last-event-id': '3' });
    t.equal(all.status, 204, 'there is nothing to reconnect for');
    t.match(
      await (await open({ 'last-event-id': '2' })).text(),
      /"at":"1970-01-01T00:00:00.000Z","is":"three"/,
    );
  },
);

t.test('a client whose last event was dropped gets a "missed" event', async (t) => {
  const { open, append, end } = await start(t);
  await append(...Array.from({ length: 1_010 }, () => 'text'));
  await end();
  const [first, second] = await idsOf(await open({ 'last-event-id': '5' }));
  t.same([first, second], ['- missed', '11 text']);
});

t.test('a stream never reads the request and the result of its job', async (t) => {
  const { jobStore, open, append, end } = await start(t);
  jobStore.read = () => Promise.reject(new Error('the whole job was read'));
  const response = await open();
  await append('one');
  await end();
  t.same(await idsOf(response), ['1 one']);
});

t.test('a stream ends when the server stops, and can be resumed', async (t) => {
  const { open, append, stopping } = await start(t);
  await append('one');
  const response = await open();
  stopping.abort();
  t.same(await idsOf(response), ['1 one']);
});

t.test('errors before the first event are problems', async (t) => {
  const { url, open, jobStore } = await start(t);
  const wrong = await open({ 'last-event-id': 'x' });
  t.match(await wrong.json(), { status: 400, code: 'invalid_request', field: 'Last-Event-ID' });
  const headers = { authorization: `Bearer ${token}` };
  const unknown = `${url}/v1/jobs/job_00000000-0000-4000-8000-000000000000/events`;
  t.equal((await fetch(unknown, { headers })).status, 404);
  jobStore.problem = 'cannot use the store of jobs: a test; wait';
  t.equal((await open()).status, 503);
});

t.test('a stream waits for the event of the end, which is stored after the end', async (t) => {
  const { jobStore, job, open, append, end } = await start(t);
  await append('text');
  await end();
  const response = await open();
  await jobStore.appendEvents(job.id, [{ at: 0, event: 'state', data: { state: 'cancelled' } }]);
  t.same(await idsOf(response), ['1 text', '2 state']);
});
