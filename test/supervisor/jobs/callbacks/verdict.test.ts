import t from 'tap';
import type { Answer } from '../../../../supervisor/jobs/callbacks/post.ts';
import { causeOf, judge } from '../../../../supervisor/jobs/callbacks/verdict.ts';
import type { Callback } from '../../../../supervisor/jobs/job.ts';

const hour = 3_600_000;
const fresh: Callback = {
  ...{ url: 'http://n8n/', state: 'pending', attempts: 0, lastStatus: null, lastError: null },
  ...{ deliveredAt: null, nextAt: 0 },
};
const moment = { now: 1_000_000, endedAt: 1_000_000, random: () => 0 };

/** The callback after these answers, one after the other; undefined is no answer at all. */
function after(statuses: (number | undefined)[], answer: Partial<Answer> = {}, at = moment) {
  let callback = fresh;
  let outcome = '';
  for (const status of statuses) {
    const given =
      status === undefined ? undefined : { text: '', retryAfter: undefined, ...answer, status };
    const cause = given ? causeOf(given) : 'connection refused';
    ({ callback, outcome } = judge(callback, given, cause, at));
    if (outcome !== 'retried') break;
  }
  return { outcome, ...callback, wait: (callback.nextAt ?? 0) - at.now };
}

t.test('2xx is delivered, and 410 ends', (t) => {
  for (const status of [200, 202, 204, 299]) {
    const { outcome, state, deliveredAt, nextAt, attempts, lastStatus } = after([503, status]);
    t.same(
      { outcome, state, deliveredAt, nextAt, attempts, lastStatus },
      {
        ...{ outcome: 'delivered', state: 'delivered', deliveredAt: moment.now, nextAt: null },
        ...{ attempts: 2, lastStatus: status },
      },
    );
  }
  t.match(after([410]), { outcome: 'failed', state: 'failed', nextAt: null, lastStatus: 410 });
  t.end();
});

t.test('redirects and most 4xx end after three in a row', (t) => {
  for (const status of [301, 307, 308, 400, 401, 403, 404, 422]) {
    t.match(after([status, status]), { outcome: 'retried', state: 'pending' });
    t.match(after([status, status, status]), { outcome: 'failed', state: 'failed', attempts: 3 });
  }
  t.match(after([302]).lastError, /302, and redirects are not followed/);
  t.match(after([404, 404, 404]).lastError, 'the receiver answered 404, 3 times in a row');
  t.match(after([404, 404, 503, 404, 404]), { outcome: 'retried' });
  t.match(after([404, 404, undefined, 404, 404, 404]), { outcome: 'failed' });
  t.end();
});

t.test('408, 409, 425, 429, 5xx and no answer are retried for a day', (t) => {
  for (const status of [100, 408, 409, 425, 429, 500, 502, 503, undefined]) {
    t.match(after(Array(10).fill(status)), { outcome: 'retried', state: 'pending', attempts: 10 });
    const late = { ...moment, now: moment.endedAt + 24 * hour + 1 };
    t.match(after([status, status], {}, late), { outcome: 'retried' }, 'three requests at least');
    t.match(after([status, status, status], {}, late), { outcome: 'failed', state: 'failed' });
  }
  t.match(after([500], {}, { ...moment, now: 0 }), { outcome: 'retried' }, 'a clock set back');
  t.end();
});

t.test('the waits grow from seconds to an hour, with jitter', (t) => {
  const waits = [1, 2, 3, 12, 40].map((count) => after(Array(count).fill(503)).wait / 1_000);
  t.same(waits, [5, 10, 20, 3_600, 3_600]);
  const early = after([503], {}, { ...moment, random: () => 1 });
  t.equal(early.wait, 3_500);
  t.end();
});

t.test('if n8n does not wait yet, the callback is retried every second for two minutes', (t) => {
  t.equal(after([409]).wait, 1_000);
  t.equal(after(Array(120).fill(409)).wait, 1_000);
  t.equal(after(Array(121).fill(409)).wait, 5_000);
  t.equal(after(Array(124).fill(409)).wait, 40_000);
  t.equal(after([...Array(100).fill(409), 503]).wait, 5_000, 'they do not lengthen other waits');
  const finished = { text: '{"message":"The execution \\"7\\" has finished already."}' };
  t.match(after([409], finished), { outcome: 'failed', state: 'failed' });
  t.match(after([409], { text: 'The execution is running already' }), { outcome: 'retried' });
  t.end();
});

t.test('Retry-After lengthens a wait, up to an hour', (t) => {
  const waitFor = (retryAfter: string) => after([429], { retryAfter }).wait / 1_000;
  t.equal(waitFor('60'), 60);
  t.equal(waitFor('1'), 5);
  t.equal(waitFor('999999999'), 3_600);
  t.equal(waitFor(new Date(moment.now + 90_000).toUTCString()), 90);
  t.equal(waitFor('Thu, 01 Jan 1970 00:00:00 GMT'), 5);
  for (const wrong of ['', '-5', '1e9', 'soon', '9'.repeat(400)]) t.equal(waitFor(wrong), 5, wrong);
  t.equal(after([409], { retryAfter: '30' }).wait, 30_000);
  t.end();
});
