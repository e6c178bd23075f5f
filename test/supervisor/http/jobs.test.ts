import t, { type Test } from 'tap';
import { digestOf } from '../../../supervisor/http/idempotency.ts';
import { become, type Job } from '../../../supervisor/jobs/job.ts';
import { answerOf, otherToken, startApiServer, token } from '../../support/api-server.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';

/** A server with an empty store, and a client of it. */
async function start(t: Test) {
  const jobStore = memoryJobStore();
  const stopping = new AbortController();
  const { url, log } = await startApiServer(t, { jobStore, stopping: stopping.signal });
  const call = async (
    method: string,
    path: string,
    { body, headers = {}, bearer = token }: CallOptions = {},
  ) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${bearer}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    return { response, status: response.status, json: text === '' ? undefined : JSON.parse(text) };
  };
  const end = (id: string, change: Partial<Job> = {}) =>
    jobStore.update(id, (job) =>
      become(become(job, 'running', Date.now()), 'succeeded', Date.now(), {
        result: answerOf('done'),
        ...change,
      }),
    );
  return { url, log, jobStore, stopping, call, end };
}

interface CallOptions {
  body?: unknown;
  headers?: Record<string, string>;
  bearer?: string;
}

t.test('a job is answered 202 with its path, and is in the store by then', async (t) => {
  const { call, jobStore } = await start(t);
  const body = { prompt: 'hello', metadata: { execution: '42' }, priority: 'background' };
  const { status, response, json } = await call('POST', '/v1/jobs', { body });
  t.equal(status, 202);
  t.equal(response.headers.get('location'), `/v1/jobs/${json.id}`);
  t.match(json, {
    ...{ state: 'queued', priority: 'background', profile: 'default', session_id: null },
    ...{ metadata: { execution: '42' }, attempts: [], parked: null, callback: null },
  });
  t.match(await jobStore.read(json.id), {
    ...{ token: 'tests', request: { prompt: 'hello' }, maxAttempts: 3, timeout: 7_200_000 },
  });
  const shown = await call('GET', `/v1/jobs/${json.id}`);
  t.same(shown.json, json);
});

t.test('Prefer: respond-async makes a job of a prompt', async (t) => {
  const { call } = await start(t);
  const body = { prompt: 'hello', delay: '10m', callback_url: 'https://n8n.example/a?b=c' };
  const headers = { prefer: 'wait=5, Respond-Async; foo=bar', accept: 'text/event-stream' };
  const { status, response, json } = await call('POST', '/v1/prompts', { body, headers });
  t.equal(status, 202);
  t.equal(response.headers.get('preference-applied'), 'respond-async');
  t.equal(response.headers.get('location'), `/v1/jobs/${json.id}`);
  t.match(json, { state: 'scheduled', callback: { url: 'https://n8n.example/[redacted]' } });
  const late = Date.parse(json.not_before) - Date.parse(json.created_at);
  t.ok(Math.abs(late - 600_000) < 5_000, `${late}`);

  const without = await call('POST', '/v1/prompts', { body });
  t.match(without, {
    status: 400,
    json: { code: 'invalid_request', detail: /Prefer: respond-asy/ },
  });
  const plain = await call('POST', '/v1/prompts', { body: { prompt: 'x' } });
  t.match(plain, { status: 200, json: { result: 'hello' } });
  const heartbeat = { body: { prompt: 'x', heartbeat: '30s' }, headers };
  t.match(await call('POST', '/v1/prompts', heartbeat), {
    ...{ status: 400, json: { field: 'heartbeat', detail: /no connection to keep alive/ } },
  });
});

t.test('wrong fields are refused with the field and the remedy', async (t) => {
  const { call } = await start(t);
  const far = new Date(Date.now() + 400 * 24 * 3_600_000).toISOString();
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const wrong: [fields: object, detail: RegExp][] = [
    [{ not_before: 'tomorrow' }, /not_before: expected a time of RFC 3339/],
    [{ not_before: far }, /not_before.*more than a year/],
    [{ not_before: soon, delay: '1h' }, /"delay".*send one of the two/],
    [{ delay: 'soon' }, /"delay".*no duration/],
    [{ delay: '2h', expires_in: '1h' }, /"expires_in".*before its delay/],
    [{ not_before: soon, expires_in: '30m' }, /"expires_in".*before its not_before/],
    [{ expires_in: '0s' }, /"expires_in": it is 0/],
    [{ expires_in: '900d' }, /"expires_in".*at most 366d/],
    [{ timeout: '10ms' }, /"timeout".*at least 1s/],
    [{ timeout: '3h' }, /timeout.*BERTH_JOB_TIMEOUT/],
    [{ priority: 'high' }, /priority/],
    [{ max_attempts: 0 }, /max_attempts/],
    [{ metadata: { big: 'x'.repeat(2_000) } }, /metadata: expected at most 32 keys/],
    [{ metadata: { nested: { a: 1 } } }, /metadata/],
    [{ heartbeat: '30s' }, /heartbeat: a job has no connection/],
    [{ on_limit: 'fail' }, /on_limit: a job always waits/],
    [{ callback_url: 'http://10.0.0.1/' }, /callback_url/],
    [{ delai: '1h' }, /delai/],
  ];
  for (const [fields, detail] of wrong) {
    const { status, json } = await call('POST', '/v1/jobs', { body: { prompt: 'x', ...fields } });
    t.match({ status, ...json }, { status: 400, code: 'invalid_request', detail });
  }
  t.match((await call('POST', '/v1/jobs', { body: {} })).json, {
    detail: /prompt: expected a text/,
  });
  t.match((await call('GET', '/v1/jobs')).json, { jobs: [], next: null });
});

t.test('a not_before in the past means at once', async (t) => {
  const { call } = await start(t);
  const body = { prompt: 'x', not_before: '2020-01-01T00:00:00+01:00', on_limit: 'wait' };
  t.match(await call('POST', '/v1/jobs', { body }), {
    ...{ status: 202, json: { state: 'queued', not_before: null } },
  });
});

t.test('an Idempotency-Key gives the first job again, and refuses another body', async (t) => {
  const { call } = await start(t);
  const headers = { 'idempotency-key': 'a-key' };
  const send = (body: object, bearer = token) =>
    call('POST', '/v1/jobs', { body, headers, bearer });
  const first = await send({ prompt: 'x', priority: 'normal' });
  const again = await send({ priority: 'normal', prompt: 'x' });
  t.equal(first.response.headers.get('idempotency-replayed'), null);
  t.equal(again.response.headers.get('idempotency-replayed'), 'true');
  t.match(again, { status: 202, json: { id: first.json.id } });
  t.match(await send({ prompt: 'y' }), { status: 422, json: { code: 'idempotency_mismatch' } });
  const other = await send({ prompt: 'y' }, otherToken);
  t.match(other, { status: 202 }, 'the keys of another token are separate');
  t.not(other.json.id, first.json.id);
});

t.test(
  'a key returns its job again, even if the session or host of the request is missing',
  async (t) => {
    const { call, jobStore } = await start(t);
    const earlier = jobOf({ state: 'succeeded', result: answerOf('done') });
    const body = {
      ...{ prompt: 'x', session_id: '6f1c0a4e-0000-4000-8000-000000000009' },
      callback_url: 'http://10.0.0.1/gone',
    };
    await jobStore.add(earlier, { key: 'a-key', digest: digestOf(body) });
    const headers = { 'idempotency-key': 'a-key' };
    const again = await call('POST', '/v1/jobs', { body, headers });
    t.match(again, { status: 202, json: { id: earlier.id, state: 'succeeded' } });
    t.equal(again.response.headers.get('idempotency-replayed'), 'true');
    const other = { headers: { 'idempotency-key': 'b-key' } };
    t.match(await call('POST', '/v1/jobs', { body, ...other }), { status: 400 });
    const { callback_url: _, ...rest } = body;
    t.match(await call('POST', '/v1/jobs', { body: rest, ...other }), { status: 404 });
  },
);

t.test('a long poll ends with the job, and returns its result', async (t) => {
  const { call, end } = await start(t);
  const { json } = await call('POST', '/v1/jobs', { body: { prompt: 'x' } });
  const waiting = call('GET', `/v1/jobs/${json.id}?wait=60s`);
  await end(json.id);
  t.match(await waiting, { status: 200, json: { state: 'succeeded', result: { result: 'done' } } });
  t.match(await call('GET', `/v1/jobs/${json.id}?wait=99h`), { json: { state: 'succeeded' } });
});

t.test('a long poll ends after its time and when the server stops', async (t) => {
  const { call, stopping } = await start(t);
  const { json } = await call('POST', '/v1/jobs', { body: { prompt: 'x' } });
  for (const wait of ['100ms', '1.5ms', '0.001ms']) {
    const answer = await call('GET', `/v1/jobs/${json.id}?wait=${wait}`);
    t.match(answer, { status: 200, json: { state: 'queued' } }, wait);
  }
  const waiting = call('GET', `/v1/jobs/${json.id}?wait=60s`);
  stopping.abort();
  t.match(await waiting, { status: 200, json: { state: 'queued' } });
  t.match(await call('GET', `/v1/jobs/${json.id}?wait=soon`), { status: 400 });
});

t.test('a long poll leaves nothing behind when its client disconnects', async (t) => {
  const { url, call, jobStore } = await start(t);
  const { json } = await call('POST', '/v1/jobs', { body: { prompt: 'x' } });
  let listeners = 0;
  const { onChange } = jobStore;
  const ended = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  jobStore.onChange = (listener) => {
    const off = onChange(listener);
    listeners += 1;
    began.resolve();
    return () => {
      listeners -= 1;
      off();
      ended.resolve();
    };
  };
  const client = new AbortController();
  const headers = { authorization: `Bearer ${token}` };
  const { signal } = client;
  const poll = fetch(`${url}/v1/jobs/${json.id}?wait=60s`, { headers, signal });
  await began.promise;
  client.abort();
  await t.rejects(poll);
  await ended.promise;
  t.equal(listeners, 0);
});

t.test('the list has pages and filters, and no results', async (t) => {
  const { call, jobStore } = await start(t);
  const ids = ['1', '2', '3'].map((n) => `job_0000000${n}-0000-7000-8000-000000000000`);
  for (const [index, id] of ids.entries()) {
    await jobStore.add(
      jobOf({
        ...{ id, state: index === 0 ? 'succeeded' : 'failed', result: answerOf('secret') },
        ...{ profile: index === 2 ? 'review' : 'default', metadata: { run: `${index}` } },
      }),
    );
  }
  await jobStore.add(jobOf({ token: 'somebody', metadata: { run: '0' } }));
  const list = async (query: string) => {
    const { json } = await call('GET', `/v1/jobs?${query}`);
    return json.jobs.map(({ id }: { id: string }) => ids.indexOf(id));
  };
  t.same(await list(''), [2, 1, 0]);
  t.same(await list('state=failed,queued'), [2, 1]);
  t.same(await list('profile=review'), [2]);
  t.same(await list('metadata.run=0'), [0]);
  t.same(await list('metadata.run=0&state=failed'), []);
  const first = await call('GET', '/v1/jobs?limit=2');
  t.notMatch(JSON.stringify(first.json), /secret/);
  t.same(await list(`limit=2&cursor=${first.json.next}`), [0]);
  const filters = Array.from({ length: 33 }, (_, index) => `metadata.key${index}=x`);
  t.same(await list(filters.slice(1).join('&')), []);
  const tooMany = filters.join('&');
  for (const [query, detail] of [
    ['state=done', /state: expected states/],
    ['limit=0', /limit/],
    ['stat=failed', /"stat": there is no such filter/],
    ['metadata.a=1&metadata.a=2', /it is there twice/],
    ['cursor=nonsense', /cursor/],
    [tooMany, /33 filters: a job has at most 32 keys/],
  ] as const) {
    t.match(await call('GET', `/v1/jobs?${query}`), { status: 400, json: { detail } }, query);
  }
});

t.test('a job is cancelled, retried and removed in the states that allow it', async (t) => {
  const { call, jobStore, log } = await start(t);
  const { json } = await call('POST', '/v1/jobs', { body: { prompt: 'x' } });
  const path = `/v1/jobs/${json.id}`;
  t.match(await call('DELETE', path), { status: 409, json: { code: 'job_not_ended' } });
  t.match(await call('POST', `${path}/retry`), { status: 409, json: { code: 'job_not_ended' } });
  t.match(await call('POST', `${path}/cancel`), { status: 200, json: { state: 'cancelled' } });
  t.match(await call('POST', `${path}/cancel`), { status: 200, json: { state: 'cancelled' } });
  t.match(await call('POST', `${path}/retry`), { status: 409, json: { code: 'job_ended' } });
  t.match(await call('DELETE', path), { status: 204 });
  t.match(await call('GET', path), { status: 404, json: { code: 'job_not_found' } });
  t.match(
    log.lines.find(({ event }) => event === 'audit'),
    { job_id: json.id, action: 'job_delete' },
  );

  const failed = jobOf({ state: 'failed' });
  await jobStore.add(failed);
  t.match(await call('POST', `/v1/jobs/${failed.id}/cancel`), { json: { code: 'job_ended' } });
  t.match(await call('POST', `/v1/jobs/${failed.id}/retry`), {
    ...{ status: 202, json: { state: 'queued', ended_at: null } },
  });
});

t.test('an id that no job can have is a wrong request', async (t) => {
  const { call } = await start(t);
  t.match(await call('GET', '/v1/jobs/4711'), { status: 400, json: { detail: /the id of a job/ } });
});

t.test('without its store, jobs are answered 503 and prompts go on', async (t) => {
  const { call, jobStore } = await start(t);
  jobStore.problem = 'cannot use the store of jobs: a test; wait';
  const answered = { status: 503, json: { code: 'job_store_unavailable', retryable: true } };
  t.match(await call('POST', '/v1/jobs', { body: { prompt: 'x' } }), answered);
  t.match(await call('GET', '/v1/jobs'), answered);
  t.match(await call('POST', '/v1/prompts', { body: { prompt: 'x' } }), { status: 200 });
});
