import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openProposals } from '../../../init/proposals/fixture.ts';

const memory = 'projects/-home-node-workspace/memory/MEMORY.md';
const files = { 'CLAUDE.md': 'one\n', 'settings.json': '{}\n' };

t.test('BERTH_REPO_PATH is the directory of proposed files, and memory comes back', async (t) => {
  const nested = {
    'home/CLAUDE.md': 'one\n',
    'home/memory/-other/MEMORY.md': 'Use tabs.\n',
    'README.md': 'x\n',
  };
  const scene = await openProposals(t, nested, { settings: { BERTH_REPO_PATH: 'home' } });
  t.equal(scene.read('projects/-other/memory/MEMORY.md'), 'Use tabs.\n');
  scene.write('CLAUDE.md', 'two\n');
  scene.write(memory, 'Use spaces.\n');
  t.equal(await scene.pass(), 'opened');
  t.equal(await scene.proposed('home/CLAUDE.md'), 'two\n');
  t.equal(await scene.proposed('home/memory/-home-node-workspace/MEMORY.md'), 'Use spaces.\n');
});

t.test('a server that is not GitHub, and a ref that is no branch, have a remedy', async (t) => {
  const scene = await openProposals(t, files);
  scene.write('CLAUDE.md', 'mine\n');
  const plain = { BERTH_PROPOSE_CHANGES: 'true', BERTH_SYNC_INTERVAL: '1h' };
  const other = scene.withConfig(() => scene.config(plain));
  await t.rejects(scene.pass(other), { code: 'not_supported', message: /BERTH_GITHUB_API_URL/ });
  const ref = { ...plain, BERTH_GITHUB_API_URL: scene.api.url, BERTH_REF: 'a'.repeat(40) };
  const tagged = scene.withConfig(() => scene.config(ref));
  await t.rejects(scene.pass(tagged), { code: 'not_supported', message: /is no branch/ });
});

t.test('a damaged or forged record, and a volume that changes, propose nothing', async (t) => {
  const scene = await openProposals(t, files);
  const record = join(scene.volume, '.berth/proposals.json');
  scene.write('.berth/proposals.json', '{"version":1,"settled":"no"}');
  t.equal(await scene.pass(), 'none');
  t.match(JSON.parse(readFileSync(record, 'utf8')), { settled: [] });
  scene.write('CLAUDE.md', 'mine\n');
  scene.write('.berth/pending.json', '{}');
  t.equal(await scene.pass(), 'none');
  await scene.run();
  scene.write('.berth/proposals.json', '{"version":2}');
  await t.rejects(scene.pass(), { code: 'volume_damaged', message: /newer version/ });
  t.equal(scene.opened.length, 0);
});
