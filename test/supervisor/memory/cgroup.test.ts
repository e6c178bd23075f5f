import t from 'tap';
import { findMemoryCgroup, readContainerMemory } from '../../../supervisor/memory/cgroup.ts';
import { testDirectory } from '../../support/directory.ts';

const mebibyte = 2 ** 20;

function read(root: string, proc = '/nowhere') {
  const cgroup = findMemoryCgroup(root, proc);
  return cgroup && readContainerMemory(cgroup);
}

const version2 = (used: number, limit: string) => ({
  'memory.current': `${used}\n`,
  'memory.max': `${limit}\n`,
  'memory.stat': 'anon 1\nfile 2\ninactive_file 100\nactive_file 3\n',
});

t.test('version 2: the usage excludes memory that the kernel can reclaim at once', (t) => {
  const root = testDirectory(t, version2(300, '512'));
  t.match(read(root), { limit: 512, workingSet: 200 });
  t.end();
});

t.test('version 2 without a limit', (t) => {
  t.match(read(testDirectory(t, version2(4196, 'max'))), { limit: undefined, workingSet: 4096 });
  t.end();
});

t.test('version 2 reports stalls, OOM kills and tasks', (t) => {
  const root = testDirectory(t, {
    ...version2(300, '512'),
    'memory.pressure':
      'some avg10=12.50 avg60=1.00 avg300=0.10 total=123\nfull avg10=3.25 avg60=0.50 avg300=0.00 total=45\n',
    'memory.events': 'low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 1\n',
    'pids.current': '41\n',
    'pids.max': '100\n',
  });
  t.match(read(root), {
    stalled: { some: 12.5, full: 3.25 },
    oomKills: 2,
    tasks: { current: 41, limit: 100 },
  });
  t.end();
});

t.test(
  'a value that the kernel does not provide is unknown, and the other values are read',
  (t) => {
    const root = testDirectory(t, {
      ...version2(300, '512'),
      'memory.pressure': 'nonsense',
      'memory.events': {},
      'pids.current': '41\n',
      'pids.max': 'max\n',
    });
    t.same(read(root), {
      limit: 512,
      workingSet: 200,
      reclaimable: 100,
      stalled: undefined,
      oomKills: undefined,
      tasks: undefined,
    });
    t.end();
  },
);

const version1 = (limit: string, used = 300 * mebibyte) => ({
  'memory.usage_in_bytes': `${used}\n`,
  'memory.limit_in_bytes': `${limit}\n`,
  'memory.stat': `inactive_file 7\ntotal_inactive_file ${50 * mebibyte}\n`,
});

t.test('version 1: the figures of the whole hierarchy', (t) => {
  const root = testDirectory(t, {
    memory: {
      ...version1(String(512 * mebibyte)),
      'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 4\n',
    },
    pids: { 'pids.current': '5\n', 'pids.max': '50\n' },
  });
  t.same(read(root), {
    limit: 512 * mebibyte,
    workingSet: 250 * mebibyte,
    reclaimable: 50 * mebibyte,
    oomKills: 4,
    stalled: undefined,
    tasks: { current: 5, limit: 50 },
  });
  t.end();
});

t.test('version 1 writes no limit as a number near 2^63', (t) => {
  const root = testDirectory(t, { memory: version1('9223372036854771712') });
  t.match(read(root), { limit: undefined, workingSet: 250 * mebibyte });
  t.end();
});

t.test('version 1 reports a limit of a parent cgroup that is not visible from inside', (t) => {
  const memory = version1('9223372036854771712');
  const statistics = `hierarchical_memory_limit ${400 * mebibyte}\n${memory['memory.stat']}`;
  const root = testDirectory(t, { memory: { ...memory, 'memory.stat': statistics } });
  t.match(read(root), { limit: 400 * mebibyte });
  t.end();
});

t.test('a process below the mount has the lowest of the limits on its way', (t) => {
  const root = testDirectory(t, {
    '2': {
      ...version2(900, 'max'),
      kubepods: { ...version2(800, '600'), pod: { ...version2(700, 'max') } },
    },
    '1': { memory: { ...version1('1000', 900), a: { b: version1('600', 700) } } },
    proc: { self: { cgroup: '4:memory:/a/b\n2:cpu,cpuacct:/x\n0::/kubepods/pod\n' } },
  });
  t.match(read(`${root}/2`, `${root}/proc`), { limit: 600, workingSet: 700 });
  t.match(findMemoryCgroup(`${root}/1`, `${root}/proc`), {
    version: 1,
    directory: `${root}/1/memory/a/b`,
  });
  t.end();
});

t.test('a path that is not below the mount, as in a container, stands for the mount', (t) => {
  const root = testDirectory(t, {
    cgroup: version2(300, '512'),
    proc: { self: { cgroup: '0::/../../elsewhere\n' } },
    other: { self: { cgroup: '0::/kubepods/of/the/host\n' } },
  });
  for (const proc of ['proc', 'other']) {
    t.match(findMemoryCgroup(`${root}/cgroup`, `${root}/${proc}`), {
      directory: `${root}/cgroup`,
    });
  }
  t.end();
});

t.test('more reclaimable than used is a working set of nothing', (t) => {
  t.match(read(testDirectory(t, version2(10, 'max'))), { workingSet: 0 });
  t.end();
});

t.test('a missing, incomplete or removed memory cgroup gives no reading', (t) => {
  t.equal(read('/nowhere'), undefined);
  t.equal(read(testDirectory(t, { 'memory.max': '10' })), undefined);
  t.equal(readContainerMemory({ version: 2, directory: '/nowhere', pids: undefined }), undefined);
  t.end();
});
