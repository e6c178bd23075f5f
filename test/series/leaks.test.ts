import t from 'tap';
import { startBerthIn } from '../soak/berth-in-cgroup.ts';
import { container, leakInTurn, leakPrompt } from '../soak/memory-leaks.ts';
import { testDirectory } from '../support/directory.ts';
import { sendPrompt } from '../support/prompt.ts';

t.test(
  'two leaks in a cgroup of 1 GiB: the kernel kills no process, and each turn is answered',
  async (t) => {
    const { leaks, others, kernelKills } = await leakInTurn({
      directory: testDirectory(t),
      rates: [200, 60],
      oneSession: true,
    });
    t.equal(kernelKills, 0);
    t.equal(leaks.length, 2);
    for (const { rate, reply, decision } of leaks) {
      t.match(reply, { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
      t.match(decision, { action: 'end', cause: /^container_(hard|predicted)$/ }, `${rate} MB/s`);
    }
    t.ok(others.length > 2);
    t.same(
      others.filter(({ status }) => status !== 200),
      [],
      'whoever did not leak has an answer',
    );
  },
);

t.test('if a process leaks right after its start, berth ends that process', async (t) => {
  const settings = { BERTH_MAX_WORKERS: '3', BERTH_WARM_WORKERS: '0' };
  const berth = await startBerthIn(testDirectory(t), { limit: container, mcpServers: 1, settings });
  t.teardown(berth.stop);
  const { program, target, cgroup } = berth;
  const beside = [1, 2].map(() => sendPrompt(target, { prompt: '[[say one]]' }));
  await Promise.all(beside);
  const reply = await sendPrompt(target, { prompt: leakPrompt(400) });
  t.match(reply, { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
  t.equal(cgroup.kills(), 0);
  const [ended, ...more] = program.lines.filter(({ action }) => action === 'end');
  const leaker = program.lines.filter(({ event }) => event === 'worker_ready')[beside.length];
  t.equal(ended?.worker, leaker?.worker);
  t.same(more, []);
});
