/**
 * Both images for another architecture than this machine's, with every program of theirs under qemu:
 * run by scripts/containers/emulated.sh, which has built them and names the CLI's tarball of npm. Shows
 * that nothing in them is of one architecture; how fast anything is, it does not.
 */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { settingsFor, startTarballServer } from '../support/cli-tarball.ts';
import { Surroundings } from './pod.ts';
import { images, podmanOk } from './podman.ts';

const { BERTH_ARCHITECTURE: architecture, BERTH_TEST_TARBALL: file = '' } = process.env;

t.setTimeout(900_000);

t.test(`the images are for ${architecture}`, async (t) => {
  for (const image of Object.values(images)) {
    const { Architecture } = JSON.parse(await podmanOk('inspect', '--type', 'image', image))[0];
    t.equal(Architecture, architecture);
    const arch = ['--entrypoint', 'node', image, '-p', 'process.arch'];
    t.equal(await podmanOk('run', '--rm', '--network=host', ...arch), architecture);
  }
});

t.test('init, the CLI of the architecture, and the runtime', async (t) => {
  const around = await Surroundings.open(t);
  const server = await startTarballServer(t);
  const content = readFileSync(file);
  server.files.set('/claude.tgz', content);
  const pod = around.pod(t, { settings: settingsFor(`${server.url}/claude.tgz`, content) });
  for (const expected of [
    { written: 2, cli: 'installed' },
    { written: 0, cli: 'present' },
  ]) {
    const { code, lines } = await pod.init();
    t.equal(code, 0, JSON.stringify(lines.at(-1)));
    t.match(lines.at(-1), { event: 'report', ...expected });
    t.comment(`init took ${lines.at(-1)?.duration_ms} ms`);
  }
  await pod.start();
  await pod.answers('readyz', 300_000);
  const { status, body } = await pod.prompt('[[tool Bash {"command": "uname -m"}]]');
  t.equal(status, 200, JSON.stringify(body));
  t.match(body.result, { amd64: /x86_64/, arm64: /aarch64/ }[architecture ?? '']);
  t.equal(await pod.stop(), 0);
});
