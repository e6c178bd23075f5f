import t, { type Test } from 'tap';
import { type Route, routes } from '../../../supervisor/http/routes.ts';
import { otherToken, startApiServer, token } from '../../support/api-server.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { idOf, sessionRecord } from '../../support/session-record.ts';

/**
 * A server with a session and an ended job of the token `tests` for each row, and only `tests` as an administrator.
 */
async function startWithSessions(t: Test) {
  const sessions = routes.map((_, row) => sessionRecord({ id: idOf(row), token: 'tests' }));
  const jobStore = memoryJobStore();
  for (const row of routes.keys()) {
    await jobStore.add(jobOf({ id: `job_${idOf(row)}`, token: 'tests', state: 'failed' }));
  }
  const mayAdminister = (name: string): boolean => name === 'tests';
  const { url, log } = await startApiServer(t, { sessions, jobStore, mayAdminister });
  const call = async ({ method, path, body }: Route, row: number, bearer?: string) => {
    const response = await fetch(url + path.replace(':id', idIn(path, row)), {
      method,
      redirect: 'manual',
      headers: {
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(bodyFor(path)) : null,
    });
    const text = await response.text();
    const isJson = /^application\/(problem\+)?json/.test(
      response.headers.get('content-type') ?? '',
    );
    const answer = response.status >= 400 && isJson && text !== '' ? JSON.parse(text) : {};
    const code = answer.error?.berth?.code ?? answer.code;
    return { status: response.status, code, text };
  };
  return { call, log, url };
}

const takesPrompt = ['/v1/prompts', '/v1/jobs'];
const decides = ['/v1/approvals/:id', '/approvals/:id/:key'];

function bodyFor(path: string): object {
  if (decides.includes(path)) return { decision: 'deny' };
  return takesPrompt.includes(path) ? { prompt: 'x' } : {};
}

const idIn = (path: string, row: number): string =>
  path.startsWith('/v1/jobs/') ? `job_${idOf(row)}` : idOf(row);

/** The codes with which a caller is refused for who the caller is. */
const refusals = ['unauthorized', 'forbidden', 'session_not_found', 'job_not_found'];

const name = ({ method, path }: Route): string => `${method} ${path}`;

t.test('without a token only the rows for anyone are answered', async (t) => {
  const { call } = await startWithSessions(t);
  for (const [row, route] of routes.entries()) {
    const { status, code } = await call(route, row);
    if (route.callers === 'anyone') t.ok(status < 400, `${name(route)} ${status}`);
    else if (route.callers === 'link') t.equal(status, 404, name(route));
    else t.match({ status, code }, { status: 401, code: 'unauthorized' }, name(route));
  }
});

t.test('with a wrong token only the rows for anyone are answered', async (t) => {
  const { call } = await startWithSessions(t);
  for (const [row, route] of routes.entries()) {
    const { status, code } = await call(route, row, 'a-token-that-nobody-has');
    if (route.callers === 'anyone') t.ok(status < 400, `${name(route)} ${status}`);
    else if (route.callers === 'link') t.equal(status, 404, name(route));
    else t.match({ status, code }, { status: 401, code: 'unauthorized' }, name(route));
  }
});

t.test(
  'a token of another name gets no session, no job and no administrative action',
  async (t) => {
    const { call, log } = await startWithSessions(t);
    for (const [row, route] of routes.entries()) {
      const { status, code, text } = await call(route, row, otherToken);
      const what = `${name(route)} ${status} ${code}`;
      if (route.callers === 'owner')
        t.match({ status, code }, { status: 404, code: `${route.of}_not_found` }, what);
      else if (route.callers === 'admin')
        t.match({ status, code }, { status: 403, code: refusals[1] });
      else t.notOk(refusals.includes(code), what);
      const shown = routes.some((_, other) => other !== row && text.includes(idOf(other)));
      t.notOk(shown, `${what} shows no session`);
    }
    const audited = log.lines.filter(({ event }) => event === 'audit');
    t.equal(audited.length, routes.filter(({ callers }) => callers === 'admin').length);
    t.ok(audited.every(({ refused, token: who }) => refused === true && who === 'somebody'));
  },
);

t.test('the token of the session, which is an administrator too, is refused nowhere', async (t) => {
  const { call } = await startWithSessions(t);
  for (const [row, route] of routes.entries()) {
    const { status, code } = await call(route, row, token);
    t.notOk(refusals.includes(code), `${name(route)} ${status} ${code}`);
  }
});

t.test('a prompt of another name cannot continue the session', async (t) => {
  const { url } = await startWithSessions(t);
  const send = async (bearer: string) => {
    const response = await fetch(`${url}/v1/prompts`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', session_id: idOf(0) }),
    });
    return response.status;
  };
  t.equal(await send(otherToken), 404);
  t.equal(await send(token), 200);
});

t.test(
  'a path that is not in the table needs a token, and no method is added to a row',
  async (t) => {
    const { url } = await startWithSessions(t);
    t.equal((await fetch(`${url}/v1/nothing`)).status, 401);
    const headers = { authorization: `Bearer ${token}` };
    for (const path of new Set(routes.map((route) => route.path))) {
      const known = routes.filter((route) => route.path === path).map(({ method }) => `${method}`);
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter(
        (method) => !known.includes(method),
      )) {
        const { status } = await fetch(url + path.replace(':id', idIn(path, 0)), {
          method,
          headers,
        });
        t.equal(status, 405, `${method} ${path}`);
      }
      if (!known.includes('GET')) continue;
      const open = routes.some(
        (route) => route.path === path && ['anyone', 'link'].includes(route.callers),
      );
      const { status } = await fetch(url + path.replace(':id', idIn(path, 0)), {
        method: 'HEAD',
        redirect: 'manual',
      });
      t.equal(status === 401, !open, `HEAD ${path}`);
    }
  },
);
