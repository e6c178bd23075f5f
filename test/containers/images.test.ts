/** What the images are made of, and what is not in them. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import packageJson from '../../package.json' with { type: 'json' };
import { cannotRun, images, podman, podmanOk } from './podman.ts';

const skip = cannotRun();

t.test(
  'both images run as uid 1000 and carry labels for title, license, version and revision',
  { skip },
  async (t) => {
    for (const [name, image] of Object.entries(images)) {
      const { Config } = JSON.parse(await podmanOk('inspect', '--type', 'image', image))[0];
      t.equal(Config.User, '1000:1000', name);
      t.match(Config.Labels, {
        'org.opencontainers.image.title': /^berth/,
        'org.opencontainers.image.description': /./,
        'org.opencontainers.image.licenses': 'MIT',
        'org.opencontainers.image.version': packageJson.version,
        'org.opencontainers.image.revision': /^[0-9a-f]{40}$/,
        'org.opencontainers.image.created': /^\d{4}-\d\d-\d\dT/,
      });
      // A CA or a proxy of the machine that built it has no place in it.
      t.notMatch(Config.Env.join('\n'), /PROXY|CERT|TOKEN/i, name);
      t.equal(
        await podmanOk('run', '--rm', '--network=none', image, '--version'),
        packageJson.version,
      );
    }
  },
);

t.test('init holds no shell and nothing else to run', { skip }, async (t) => {
  for (const command of ['sh', 'npm', 'git', 'apt']) {
    const { code } = await podman(
      'run',
      '--rm',
      '--network=none',
      '--entrypoint',
      command,
      images.init,
    );
    t.ok(code === 126 || code === 127, `${command} ended with ${code}`);
  }
  const list = 'require("fs").readdirSync("/").sort().join(" ")';
  const given = ['run', '--rm', '--network=none', '--entrypoint', 'node', images.init, '-p', list];
  t.notMatch(await podmanOk(...given), /\b(bin|home|root|build)\b/);
});

t.test('init is less than 60 MB compressed', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-image-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  await podmanOk('save', '--format', 'docker-dir', '--compress', '-o', directory, images.init);
  const sizes = readdirSync(directory).map((name) => statSync(join(directory, name)).size);
  const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6;
  t.ok(megabytes > 20 && megabytes < 60, `${megabytes} MB`);
});

t.test(
  'the runtime image has the tools that hooks and skills need, but no npm, compiler or CLI',
  { skip },
  async (t) => {
    const found =
      'for c in git rg jq tini bash npm npx corepack gcc make claude; do command -v $c; done; true';
    const given = [
      'run',
      '--rm',
      '--network=none',
      '--entrypoint',
      'bash',
      images.runtime,
      '-c',
      found,
    ];
    t.strictSame((await podmanOk(...given)).split('\n'), [
      '/usr/bin/git',
      '/usr/bin/rg',
      '/usr/bin/jq',
      '/usr/bin/tini',
      '/usr/bin/bash',
    ]);
    t.match(
      await podmanOk('run', '--rm', '--network=none', images.runtime, 'token', 'n8n'),
      /n8n:sha256:[0-9a-f]{64}/,
    );
    const ended = await podman('run', '--rm', '--network=none', images.runtime);
    t.equal(ended.code, 69);
    t.match(ended.stdout, /does not exist; install it .*BERTH_CLAUDE_TARBALL/);
  },
);
