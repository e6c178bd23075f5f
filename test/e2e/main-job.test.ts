/**
 * The main job from end to end: both bundles as real processes, the real CLI, a real git server; the
 * model alone is a stand-in. Then again on the same volume, as a restarted pod has it.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { testDirectory } from '../support/directory.ts';
import { commandLinesWith, filesWith } from '../support/find-secret.ts';
import { startGitServer } from '../support/git-server.ts';
import { startMessagesApi, systemText } from '../support/messages-api.ts';
import { processesOf } from '../support/processes.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { sendPrompt, streamPrompt } from '../support/prompt.ts';
import { createRepository } from '../support/repository.ts';

const claude = join(import.meta.dirname, '../../node_modules/.bin/claude');

const instruction = `Always mention the lighthouse ${randomBytes(6).toString('hex')}.`;
const secrets = {
  pat: `ghp_${randomBytes(18).toString('hex')}`,
  accessToken: `sk-ant-oat01-${randomBytes(24).toString('hex')}`,
  refreshToken: `sk-ant-ort01-${randomBytes(24).toString('hex')}`,
  apiToken: makeToken(),
};

const day = 86_400_000;
const credentials = JSON.stringify({
  claudeAiOauth: {
    accessToken: secrets.accessToken,
    refreshToken: secrets.refreshToken,
    expiresAt: Date.now() + day,
    refreshTokenExpiresAt: Date.now() + 28 * day,
    scopes: ['user:inference', 'user:profile'],
    subscriptionType: 'max',
  },
});

async function prepare(t: Test) {
  const root = testDirectory(t, {
    git: {},
    volume: {},
    home: {},
    'credentials.json': credentials,
    tokens: `${tokenLine('n8n', secrets.apiToken)}\n`,
  });
  const repository = createRepository(join(root, 'git'), 'me/claude', {
    'CLAUDE.md': `# Rules\n\n${instruction}\n`,
    'settings.json': '{"permissions":{"allow":["Bash(echo:*)"]}}',
    'skills/lighthouse/SKILL.md':
      '---\nname: lighthouse\ndescription: Finds the way home.\n---\nLook for the light.\n',
    'agents/keeper.md': '---\nname: keeper\ndescription: Keeps the light.\n---\nKeep it.\n',
  });
  const git = await startGitServer({ root: join(root, 'git'), token: secrets.pat });
  const api = await startMessagesApi();
  t.teardown(() => Promise.all([git.close(), api.close()]));
  const printed: Program[] = [];
  const volume = join(root, 'volume');
  const init = (): Program => {
    const program = startProgram('init', {
      environment: {
        BERTH_REPO: git.repositoryUrl('me/claude'),
        GITHUB_PAT: secrets.pat,
        BERTH_CONFIG_DIR: volume,
        BERTH_CREDENTIALS_SOURCE: join(root, 'credentials.json'),
        BERTH_UID: String(process.getuid?.()),
        BERTH_GID: String(process.getgid?.()),
        BERTH_LOG_LEVEL: 'debug',
      },
    });
    printed.push(program);
    return program;
  };
  const serve = async (settings: Record<string, string> = {}) => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(root, 'home'),
        BERTH_CONFIG_DIR: volume,
        BERTH_WORKSPACE_DIR: join(root, 'workspace'),
        BERTH_API_TOKENS_FILE: join(root, 'tokens'),
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_DRAIN_DELAY: '0s',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_CLAUDE_PATH: claude,
        BERTH_LOG_LEVEL: 'debug',
        ANTHROPIC_BASE_URL: api.url,
        // No prompt here has settings of its own.
        BERTH_SHARED_SPARES: '0',
        ...settings,
      },
    });
    printed.push(program);
    t.teardown(async () => {
      program.kill('SIGTERM');
      await program.ended;
    });
    const { address } = await program.logged('listening');
    return { program, target: { url: String(address), token: secrets.apiToken } };
  };
  return { root, volume, repository, api, init, serve, printed };
}

test('a private repository becomes a volume on which prompts are answered, and stays so', async (t) => {
  const { volume, repository, api, init, serve, printed } = await prepare(t);
  const allSecrets = Object.values(secrets);
  const seenOnCommandLines: string[] = [];
  const lookAtCommandLines = () => seenOnCommandLines.push(...commandLinesWith(allSecrets));

  const first = init();
  lookAtCommandLines();
  t.equal(await first.ended, 0, 'init is done');
  t.match(
    first.lines.find(({ event }) => event === 'report'),
    { commit: repository.head() },
    'init reports the commit that is on the volume',
  );

  const { program, target } = await serve();
  const events = [];
  for await (const event of streamPrompt(target, { prompt: 'Where is home? [[say by the sea]]' })) {
    events.push(event);
    lookAtCommandLines();
  }
  const session = events.find(({ event }) => event === 'session');
  t.match(session?.data.skills, /lighthouse/, "the CLI lists the repository's skill");
  const answer = events.at(-1);
  t.equal(answer?.event, 'result');
  t.match(answer?.data, { result: 'by the sea', is_error: false, recycled: 0 });
  const sessionId = String(answer?.data.session_id);

  const request = api.requests.find(({ path }) => path.startsWith('/v1/messages'));
  t.ok(request && systemText(request).includes(instruction), 'CLAUDE.md reached the model');
  t.match(
    request?.headers,
    { authorization: `Bearer ${secrets.accessToken}` },
    'the CLI is logged in by the credentials that init put there',
  );
  const environments = processesOf(volume).map(({ environment }) => environment.join());
  t.ok(environments.length > 0, 'workers run');
  t.notOk(
    environments.some((text) => allSecrets.some((secret) => text.includes(secret))),
    'no secret is in the environment of the CLI',
  );

  program.kill('SIGTERM');
  t.equal(await program.ended, 0, 'the supervisor stops cleanly');
  const transcripts = () =>
    readdirSync(join(volume, 'projects'), { recursive: true, encoding: 'utf8' });
  t.ok(
    transcripts().some((name) => name.includes(sessionId)),
    'the transcript is on the volume',
  );

  mkdirSync(join(volume, 'notes'));
  writeFileSync(join(volume, 'notes/mine.md'), 'untracked');
  repository.commit({ 'CLAUDE.md': '# Rules\n\nNow mention the harbour.\n' });
  const second = init();
  t.equal(await second.ended, 0, 'init is done again');
  t.equal(readFileSync(join(volume, 'notes/mine.md'), 'utf8'), 'untracked', 'untracked files stay');
  t.ok(
    transcripts().some((name) => name.includes(sessionId)),
    'so do transcripts',
  );
  t.match(readFileSync(join(volume, 'CLAUDE.md'), 'utf8'), 'harbour', 'tracked files are updated');

  // The session gets a process of its own.
  const again = await serve({ BERTH_WARM_WORKERS: '0' });
  const followUp = await sendPrompt(again.target, {
    prompt: 'And now? [[say still there]]',
    session_id: sessionId,
  });
  t.match(followUp, {
    status: 200,
    body: { session_id: sessionId, result: 'still there', is_error: false },
  });
  const resumed = api.requests.findLast(({ path }) => path.startsWith('/v1/messages'));
  t.match(JSON.stringify(resumed?.body), 'Where is home?', 'the model sees the first prompt again');
  again.program.kill('SIGTERM');
  t.equal(await again.program.ended, 0);

  t.strictSame(seenOnCommandLines, [], 'no secret is in the arguments of a process');
  const output = printed.map((each) => each.output).join('');
  t.notOk(
    allSecrets.some((secret) => output.includes(secret)),
    'no secret is in the logs',
  );
  t.strictSame(
    filesWith(volume, [secrets.pat, secrets.apiToken]),
    [],
    'neither the PAT nor the API token is on the volume',
  );
  t.strictSame(
    filesWith(volume, [secrets.accessToken, secrets.refreshToken]),
    ['.berth/last-good-credentials.json', '.credentials.json'],
    'the login is where the CLI and its keeper need it, and nowhere else',
  );
  t.notOk(existsSync(join(volume, '.berth/lease.json')), 'the lease was given back');
});
