import t from 'tap';
import { readContainerMemory } from '../../../supervisor/memory/cgroup.ts';

const mebibyte = 2 ** 20;

t.test('version 2: usage without what the kernel can take back at once', async (t) => {
  const root = t.testdir({
    'memory.current': `${300 * mebibyte}\n`,
    'memory.max': `${512 * mebibyte}\n`,
    'memory.stat': `anon 1\nfile 2\ninactive_file ${100 * mebibyte}\nactive_file 3\n`,
  });
  t.same(await readContainerMemory(root), { limit: 512 * mebibyte, workingSet: 200 * mebibyte });
});

t.test('version 2 without a limit', async (t) => {
  const root = t.testdir({
    'memory.current': '4096\n',
    'memory.max': 'max\n',
    'memory.stat': 'inactive_file 0\n',
  });
  t.same(await readContainerMemory(root), { limit: undefined, workingSet: 4096 });
});

const version1 = (limit: string) => ({
  memory: {
    'memory.usage_in_bytes': `${300 * mebibyte}\n`,
    'memory.limit_in_bytes': `${limit}\n`,
    'memory.stat': `inactive_file 7\ntotal_inactive_file ${50 * mebibyte}\n`,
  },
});

t.test('version 1: the figures of the whole hierarchy', async (t) => {
  const root = t.testdir(version1(String(512 * mebibyte)));
  t.same(await readContainerMemory(root), { limit: 512 * mebibyte, workingSet: 250 * mebibyte });
});

t.test('version 1 writes no limit as a number near 2^63', async (t) => {
  const root = t.testdir(version1('9223372036854771712'));
  t.same(await readContainerMemory(root), { limit: undefined, workingSet: 250 * mebibyte });
});

t.test('more reclaimable than used is a working set of nothing', async (t) => {
  const root = t.testdir({
    'memory.current': '10',
    'memory.max': 'max',
    'memory.stat': 'inactive_file 20',
  });
  t.match(await readContainerMemory(root), { workingSet: 0 });
});

t.test('no memory cgroup, or half of one, is no reading', async (t) => {
  t.equal(await readContainerMemory('/nowhere'), undefined);
  t.equal(await readContainerMemory(t.testdir({ 'memory.current': '10' })), undefined);
});
