import t from 'tap';
import { become } from '../../../supervisor/jobs/job.ts';
import { viewOf, withoutSecrets } from '../../../supervisor/jobs/job-view.ts';
import { jobOf } from '../../support/job.ts';

const at = Date.parse('2026-01-02T03:04:05Z');

const queued = jobOf({
  createdAt: at,
  expiresAt: at + 1_000,
  request: { prompt: 'a text that no view shows' },
  metadata: { execution: '42' },
  attempts: [{ startedAt: at, endedAt: null, outcome: null }],
  callback: {
    url: 'https://n8n.example/webhook-waiting/4711?signature=made-up',
    ...{ state: 'waiting', attempts: 0, lastStatus: null, lastError: null },
    ...{ deliveredAt: null, nextAt: null },
  },
});

t.test('a view has ISO times, and neither the prompt nor the path of the callback', async (t) => {
  const view = viewOf(queued);
  t.match(view, {
    state: 'queued',
    created_at: '2026-01-02T03:04:05.000Z',
    expires_at: '2026-01-02T03:04:06.000Z',
    not_before: null,
    attempts: [{ started_at: '2026-01-02T03:04:05.000Z', ended_at: null, outcome: null }],
    callback: { url: 'https://n8n.example/[redacted]', state: 'waiting' },
  });
  const text = JSON.stringify(view);
  t.notMatch(text, /no view shows|4711|made-up/);
  t.notOk('result' in view || 'error' in view);
});

t.test('the error of a view is a whole problem', async (t) => {
  const detail = 'cannot finish: a test; try again';
  const failed = become(queued, 'failed', at, { error: { code: 'turn_failed', detail, extra: 1 } });
  t.match(viewOf(failed).error, {
    ...{ type: 'about:blank', title: 'The CLI ended the turn with an error' },
    ...{ status: 502, code: 'turn_failed', retryable: false, detail, extra: 1 },
  });
  const unknown = { ...failed, error: { code: 'of_a_newer_version', detail } };
  t.match(viewOf(unknown).error, { code: 'of_a_newer_version', status: 500, retryable: false });
});

t.test('a parked job has its reason and its end', async (t) => {
  const parked = become(queued, 'parked', at, { parked: { reason: 'usage_limit', until: at } });
  t.same(viewOf(parked).parked, { reason: 'usage_limit', until: '2026-01-02T03:04:05.000Z' });
});

t.test('a text that is no URL is not shown', async (t) => {
  t.equal(withoutSecrets('no url'), '[redacted]');
});
