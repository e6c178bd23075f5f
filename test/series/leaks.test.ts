import t from 'tap';
import { startBerthIn } from '../soak/berth-in-cgroup.ts';
import { container, leakInTurn, leakPrompt } from '../soak/memory-leaks.ts';
import { testDirectory } from '../support/directory.ts';
import type { LogLine } from '../support/programs.ts';
import { sendPrompt } from '../support/prompt.ts';

// Both tests use one supervisor: each start of the supervisor and of a worker costs seconds of CPU time.
const berth = await startBerthIn(testDirectory(t), {
  limit: container,
  mcpServers: 1,
  settings: { BERTH_MAX_WORKERS: '3', BERTH_WARM_WORKERS: '0' },
});
t.teardown(berth.stop);
const { program, target, cgroup } = berth;
const say = async () => {
  const { body } = await sendPrompt(target, { prompt: '[[say one]]' });
  return String(body.session_id);
};
/** The workers that the guard has ended, and those of a session that were ended for their memory. */
const endedIn = (lines: readonly LogLine[], session: unknown) => ({
  decided: lines.filter(({ action }) => action === 'end').map(({ worker }) => worker),
  ofSession: lines
    .filter(({ event, reason }) => event === 'worker_recycled' && reason === 'memory')
    .filter(({ session_id }) => session_id === session)
    .map(({ worker }) => worker),
});
const [others, idle] = await Promise.all([say(), say()]);
let leaks: unknown;

await t.test('if a process leaks right after its start, berth ends that process', async (t) => {
  const before = program.lines.filter(({ event }) => event === 'worker_ready').length;
  const reply = await sendPrompt(target, { prompt: leakPrompt(400) });
  t.match(reply, { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
  t.equal(cgroup.kills(), 0);
  const [ended, ...more] = program.lines.filter(({ action }) => action === 'end');
  const leaker = program.lines.filter(({ event }) => event === 'worker_ready')[before];
  t.equal(ended?.worker, leaker?.worker);
  // The end of a process that is slow to leave is decided twice.
  t.same(
    more.filter(({ worker }) => worker !== ended?.worker),
    [],
  );
  leaks = reply.body.session_id;
});

await t.test(
  'two leaks in a cgroup of 1 GiB: the kernel kills no process, and each turn is answered',
  async (t) => {
    const removed = await fetch(`${target.url}/v1/sessions/${idle}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${target.token}` },
    });
    t.equal(removed.status, 204);
    const leaking = String(leaks ?? (await say()));
    const before = program.lines.length;
    const series = await leakInTurn({
      start: async () => ({ ...berth, stop: async () => {} }),
      directory: testDirectory(t),
      rates: [200, 60],
      sessions: { others, leaks: leaking },
    });
    const { decided, ofSession } = endedIn(program.lines.slice(before), leaking);
    t.equal(ofSession.length, 2);
    t.strictSame(
      [...new Set(decided)],
      ofSession,
      'each ended process is that of the session that leaks',
    );
    t.equal(series.kernelKills, 0);
    t.equal(series.leaks.length, 2);
    for (const { rate, reply, decision } of series.leaks) {
      t.match(reply, { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
      t.match(decision, { action: 'end', cause: /^container_(hard|predicted)$/ }, `${rate} MB/s`);
    }
    t.ok(series.others.length > 2);
    t.same(
      series.others.filter(({ status }) => status !== 200),
      [],
      'whoever did not leak has an answer',
    );
  },
);
