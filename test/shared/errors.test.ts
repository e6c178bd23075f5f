import t from 'tap';
import {
  asBerthError,
  BerthError,
  errorTable,
  messageOf,
  systemCode,
} from '../../shared/errors.ts';

t.test(
  'an error code defines the exit code, the HTTP status and whether a retry can succeed',
  async (t) => {
    const error = new BerthError('remote_unavailable', 'cannot x: y; z');
    t.match(error, { exitCode: 69, status: 502, retryable: true, name: 'BerthError' });
  },
);

t.test('every code has a valid exit code and status', async (t) => {
  for (const [code, { exit, status, title }] of Object.entries(errorTable)) {
    t.ok([64, 65, 69, 70, 73, 75, 77].includes(exit), `${code} exits ${exit}`);
    t.ok(status >= 400 && status < 600, `${code} answers ${status}`);
    t.match(title, /^[A-Z].*[^.]$/);
  }
});

t.test('any other thrown value becomes an internal error that reports a bug', async (t) => {
  for (const thrown of [new TypeError('x is not a function'), 'text', null, undefined, 7]) {
    const error = asBerthError(thrown);
    t.match(error, { code: 'internal', exitCode: 70, message: /bug in berth/ });
    t.equal(error.cause, thrown);
  }
  const known = new BerthError('queue_full', 'cannot x');
  t.equal(asBerthError(known), known);
});

t.test('the message and the code can be read from any thrown value', async (t) => {
  t.equal(messageOf(new Error('a')), 'a');
  t.equal(messageOf(null), 'null');
  t.equal(systemCode(Object.assign(new Error(), { code: 'ENOENT' })), 'ENOENT');
  for (const thrown of [null, undefined, 'x', { code: 7 }]) t.equal(systemCode(thrown), undefined);
});
