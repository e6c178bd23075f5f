/** berth-init as its image starts it: from a snapshot, made with the commands of Dockerfile.init. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';
import packageJson from '../../../package.json' with { type: 'json' };
import {
  bundleName,
  imageArguments,
  initBundle,
  takeSnapshot,
} from '../../../scripts/bundle-init.ts';
import { openHarbour, token } from '../../init/fixture.ts';
import { runProgram } from '../../init/process.ts';
import { startGitHubApi } from '../../support/github-api.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-snapshot-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

/** The snapshot is made with other variables, which must not stay in it. */
async function makeSnapshot(): Promise<readonly string[]> {
  await build({ outdir: directory, ...initBundle });
  process.env.BERTH_LOG_LEVEL = 'error';
  process.env.BERTH_REPO = 'https://made.invalid/with/this';
  takeSnapshot(directory);
  return imageArguments(directory);
}

const program = await makeSnapshot();

t.test('V8 can keep the whole bundle in one byte a character', async (t) => {
  t.notMatch(readFileSync(join(directory, bundleName), 'utf8'), /[^\0-\x7f]/);
});

t.test('the program prints its version and refuses unknown arguments', async (t) => {
  const told = await runProgram({}, { program, arguments: ['--version'] });
  t.equal(told.output, `${packageJson.version}\n`);
  const refused = await runProgram({}, { program, arguments: ['--what'] });
  t.equal(refused.code, 64);
  const unset = await runProgram({}, { program });
  t.equal(unset.code, 64);
  t.match(unset.output, /BERTH_REPO is required/);
});

t.test('it prepares a volume, finds nothing to do, updates it and checks it', async (t) => {
  const harbour = await openHarbour(t);
  const environment = harbour.environment({ BERTH_LOG_LEVEL: 'debug' });
  const cold = await runProgram(environment, { program });
  t.equal(cold.code, 0, cold.output);
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  const idle = await runProgram(environment, { program });
  t.match(idle.lines.at(-1), { event: 'report', written: 0, volume: 'complete' });
  harbour.repository.commit({ 'CLAUDE.md': '# two\n' });
  const update = await runProgram(environment, { program });
  t.match(update.lines.at(-1), { event: 'report', written: 1 });
  t.equal(harbour.read('CLAUDE.md'), '# two\n');
  const owners = [cold, idle, update].map(
    ({ lines }) => lines.find(({ event }) => event === 'lease_acquired')?.owner,
  );
  t.equal(new Set(owners).size, 3, 'nothing random comes out of the snapshot');
  const check = await runProgram(harbour.environment(), { program, arguments: ['--check'] });
  t.equal(check.code, 0, check.output);
  t.match(check.output, harbour.url);
});

t.test('the snapshot loads the parts that few runs need: GitHub and the pretty log', async (t) => {
  const harbour = await openHarbour(t);
  const api = await startGitHubApi({ repository: 'me/claude', token });
  t.teardown(() => api.close());
  const { code, output } = await runProgram(
    harbour.environment({ BERTH_GITHUB_API_URL: api.url, BERTH_LOG_PRETTY: 'true' }),
    { program },
  );
  t.equal(code, 0, output);
  t.match(output, /the volume is ready/);
  t.not(api.requests.length, 0);
});

t.test('the variables of its own start count: the proxy and a refused token', async (t) => {
  const harbour = await openHarbour(t);
  const proxied = await runProgram(
    harbour.environment({ HTTP_PROXY: 'http://127.0.0.1:1', NO_PROXY: '' }),
    { program },
  );
  t.equal(proxied.code, 69);
  t.strictSame(harbour.server.requests, []);
  const refused = await runProgram(harbour.environment({ BERTH_GIT_TOKEN: 'wrong-token-0123' }), {
    program,
  });
  t.equal(refused.code, 77);
  t.notMatch(refused.output, /wrong-token-0123/);
});
