import t from 'tap';
import { wantedSessions } from '../../../supervisor/jobs/wanted-sessions.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { queuedJob } from '../../support/sample-job.ts';

t.test('jobs that have not ended want their sessions, however many they are', async (t) => {
  const store = memoryJobStore();
  for (let at = 0; at < 250; at++) await store.add(queuedJob({ sessionId: `S-${at}` }));
  await store.add(queuedJob());
  await store.add(queuedJob({ state: 'parked', sessionId: 'parked' }));
  await store.add(queuedJob({ state: 'cancelled', endedAt: 1, sessionId: 'ended' }));
  const wanted = await wantedSessions(store, new AbortController().signal);
  t.equal(wanted.size, 251);
  t.ok(wanted.has('s-249') && wanted.has('parked'));
  await t.rejects(wantedSessions(store, AbortSignal.abort()), { name: 'AbortError' });
});
