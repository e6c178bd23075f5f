import t from 'tap';
import { leakInTurn } from '../../soak/memory-leaks.ts';

t.test(
  'five leaks in a cgroup of 1 GiB: the kernel kills nobody, and each turn has its answer',
  async (t) => {
    const { leaks, others, kernelKills } = await leakInTurn({
      directory: t.testdir(),
      rates: [200, 60, 200, 60, 200],
    });
    t.equal(kernelKills, 0);
    t.equal(leaks.length, 5);
    for (const { rate, reply, decision } of leaks) {
      t.match(reply, { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
      t.match(decision, { action: 'end', cause: /^container_(hard|predicted)$/ }, `${rate} MB/s`);
    }
    t.ok(others.length > 5);
    t.same(
      others.filter(({ status }) => status !== 200),
      [],
      'whoever did not leak has an answer',
    );
  },
);
