import t from 'tap';
import { isListed, neverProposed, proposePaths } from '../../../init/proposals/paths.ts';
import { addedText, secretIn } from '../../../init/proposals/secrets.ts';

/** Made up, and put together here so that scanners of this repository find nothing. */
const secrets: Record<string, string> = {
  'a token of GitHub': `gh${'p_'}${'a1B2c3D4e5'.repeat(4)}`,
  'a token of Anthropic': `sk-${'ant'}-api03-${'x7'.repeat(20)}`,
  'a key of Slack': `xo${'xb'}-123456789012-123456789012-${'aB3'.repeat(8)}`,
  'a login in a URL': 'https://user:not-a-passw0rd@example.com/',
  'a connection string': 'postgres://app:not-a-passw0rd@db.internal:5432/app',
  'a private key': `-----BEGIN OPENSSH ${'PRIVATE'} KEY-----\nb3BlbnNzaA==\n`,
  'a password': 'the password is hunter2hunter',
  'an assignment': 'API_KEY="5a8f0c2b7d"',
  'a key in YAML': 'secret_access_key: wJalrXUtnFEMI7K',
  'a JSON web token': `ey${'J'}hbGciOiJIUzI1NiJ9.ey${'J'}zdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl`,
  'random base62': 'use q7Zr2Lk9VxT4mBnW8yPd there',
  'random hex': `id ${'9f3c1a7e5b2d8460'.repeat(3)}`,
  'the login': 'see tokens-of-the-login-0',
};

t.test('each kind of secret is found', async (t) => {
  for (const [kind, text] of Object.entries(secrets)) {
    const found = await secretIn(text, 'CLAUDE.md', ['tokens-of-the-login-0']);
    t.type(found, 'string', kind);
    t.notOk(found !== undefined && text.includes(found), 'its kind alone is named');
  }
});

t.test('usual notes have no secret', async (t) => {
  for (const text of [
    'Use tabs. The password is in the vault. Set GITHUB_TOKEN=$TOKEN and API_KEY=<key>.',
    'Fixed by 24da517c0b5e9a1f3d7c8b6a5e4f3d2c1b0a9f8e, see test/init/gateway/pull-requests.test.ts.',
    'image@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    'const isExecutableConfigurationChanged = await readProposalsOfVolume2(stateDirectory);',
    'id: 123e4567-e89b-12d3-a456-426614174000; token: the next one; secret: none-of-this',
    'https://example.com/docs/Some-Long-Page-Name-With-Words-2026/index.html',
    'password: changeme, api_key: your-key-here',
  ]) {
    t.equal(await secretIn(text, 'CLAUDE.md', []), undefined, text);
  }
});

t.test('a hostile text is searched in linear time', { timeout: 60_000 }, async (t) => {
  t.equal(await secretIn('-eyJ'.repeat(65_536), 'CLAUDE.md', []), undefined);
});

t.test('only new lines are searched', (t) => {
  t.equal(addedText('a\nb\n', 'a\nc\nb\nd\n'), 'c\nd');
  t.end();
});

t.test('paths of secrets, transcripts and the CLI itself are never proposed', (t) => {
  for (const path of [
    ...[
      '.credentials.json',
      '.claude.json',
      '.berth/applied.json',
      'history.jsonl',
      'a/.ENV.local',
    ],
    ...['projects/-w/a.jsonl', 'projects/-w/a.md', 'Projects/-w/memory/a.md', 'todos/a.json'],
    ...['keys/id_ed25519', 'a/server.key', 'skills/synced/a.md', 'skills/a.md.tmp.1.2', 'a/`b`.md'],
    ...['.github/workflows/ci.yml', 'x/.GitHub/a.md', '.gitlab-ci.yml', '.gitmodules', '@a.md'],
    ...['skills/../settings.json', 'a\nb', 'credentials.yaml', '.netrc', 'shell-snapshots/a.sh'],
  ]) {
    t.type(neverProposed(path), 'string', path);
  }
  // The CLI cuts the name of a long working directory, and adds a digest.
  const longFolder = `-${'workspace-'.repeat(20)}-rupf44`;
  for (const path of [
    `projects/${longFolder}/memory/MEMORY.md`,
    ...['CLAUDE.md', 'skills/a b/SKILL.md', 'projects/-w/memory/MEMORY.md', 'rules/Größe.md'],
    ...['agent-memory/a/MEMORY.md', 'settings.json', 'hooks/check.sh', 'history-of-art/a.md'],
  ]) {
    t.equal(neverProposed(path), undefined, path);
  }
  t.end();
});

t.test(
  'BERTH_PROPOSE_PATHS lists files and directories, and nothing that is never proposed',
  (t) => {
    const listed = proposePaths.parse('CLAUDE.md, skills/,');
    t.same(listed, ['CLAUDE.md', 'skills/']);
    t.ok(isListed('skills/a', listed));
    t.notOk(isListed('skills', listed));
    t.notOk(isListed('CLAUDE.md/a', listed));
    for (const wrong of ['projects/', '.berth/', '../x', '/etc/', '.credentials.json']) {
      t.notOk(proposePaths.safeParse(wrong).success, wrong);
    }
    t.end();
  },
);
