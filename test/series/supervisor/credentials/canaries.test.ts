/**
 * Logins of all kinds side by side, and where their tokens turn up: nowhere that berth writes or serves,
 * and in the environment of a process, or of what its tools start, just the one that its profile names.
 * (The login file lies on the volume, where every process can read it: docs/security.md.)
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bashAllowed } from '../../../support/claude.ts';
import { environmentsWith } from '../../../support/find-secret.ts';
import { loggedIn } from '../../../support/logged-in.ts';
import { startWithRealCli, token } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const minute = 60_000;

const secrets = {
  key: 'canary-of-an-api-key-1f6d0c',
  setup: 'canary-of-a-setup-token-77ab21',
  cloud: 'canary-of-a-cloud-secret-90cc31',
  wrong: 'canary-of-a-wrong-key-0be55e',
};

const profiles = (directory: string): string => `
default: file
profiles:
  file: {}
  key: {environment: {ANTHROPIC_API_KEY: {file: ${directory}/key}}}
  setup: {environment: {CLAUDE_CODE_OAUTH_TOKEN: {file: ${directory}/setup}}}
  wrong: {environment: {ANTHROPIC_API_KEY: {file: ${directory}/wrong}}}
  missing: {environment: {ANTHROPIC_API_KEY: {file: ${directory}/nowhere}}}
  cloud:
    environment:
      CLAUDE_CODE_USE_BEDROCK: "1"
      AWS_REGION: eu-central-1
      AWS_ACCESS_KEY_ID: AKIAEXAMPLE
      AWS_SECRET_ACCESS_KEY: {file: ${directory}/cloud}
`;

t.test('no token of a login, nor of a caller, is found anywhere but with its own', async (t) => {
  const { surroundings, server } = await loggedIn(
    t,
    { lifetime: minute, refreshed: 60 * minute },
    { 'settings.json': bashAllowed },
  );
  const { api, config, workspace, inherited } = surroundings;
  inherited.ANTHROPIC_BEDROCK_BASE_URL = api.url;
  inherited.AWS_SECRET_ACCESS_KEY = 'canary-of-the-container-5d10ee';
  const directory = join(workspace, '..', 'secrets');
  mkdirSync(directory);
  for (const [name, secret] of Object.entries(secrets)) {
    writeFileSync(join(directory, name), `${secret}\n`);
  }
  const path = join(directory, 'profiles.yaml');
  writeFileSync(path, profiles(directory));
  api.reply(({ headers }) => {
    const shown = `${headers['x-api-key'] ?? headers.authorization}`.replace(/^Bearer /, '');
    const good = [secrets.key, secrets.setup].includes(shown) || server.logins.admits(shown);
    return good ? undefined : { status: 401, text: `no such token: ${shown}` };
  });
  const credentials = join(config, '.credentials.json');
  const tokens = (): string[] => {
    const { accessToken, refreshToken } = JSON.parse(
      readFileSync(credentials, 'utf8'),
    ).claudeAiOauth;
    return [accessToken, refreshToken];
  };
  const fileTokens = tokens();
  const { prompt, call, log, metricsUrl } = await startWithRealCli(t, {
    surroundings,
    settings: { BERTH_PROFILES_FILE: path, BERTH_MAX_WORKERS: '4', BERTH_LOG_LEVEL: 'debug' },
  });

  // Each runs a tool that waits until it was looked at.
  const go = join(workspace, 'go');
  const running = ['file', 'key', 'setup'].map((profile) => {
    const command = `touch ${profile}; while [ ! -e go ]; do sleep 0.1; done`;
    return prompt(`[[tool Bash ${JSON.stringify({ command })}]] [[say ${profile}]]`, { profile });
  });
  await until('all tools run', () =>
    ['file', 'key', 'setup'].every((name) => existsSync(join(workspace, name))),
  );
  fileTokens.push(...tokens());
  const all = [...Object.values(secrets), ...fileTokens, inherited.AWS_SECRET_ACCESS_KEY, token];
  const { body: status } = await call('GET', '/v1/status');
  for (const { name, profile } of status.workers) {
    const own = profile === 'file' ? [] : [secrets[profile as keyof typeof secrets]];
    const processes = environmentsWith(`BERTH_WORKER=${name}`).filter(({ variables }) =>
      variables.includes(`CLAUDE_CONFIG_DIR=${config}`),
    );
    t.ok(processes.length > 1, `${profile}: the CLI and its tool`);
    const found = all.filter((secret) =>
      processes.some(({ variables }) => variables.some((each) => each.includes(secret))),
    );
    t.same(found, own, `${profile}: no login but its own`);
  }
  t.equal(status.workers.length, 3);
  writeFileSync(go, '');
  const answers = await Promise.all(running);
  t.same(
    answers.map(({ body }) => body.result),
    ['file', 'key', 'setup'],
  );

  const failures = [
    await prompt('[[say hello]]', { profile: 'wrong' }),
    await prompt('[[say hello]]', { profile: 'missing' }),
    await prompt('[[say hello]]', { profile: 'cloud' }),
    await prompt('[[status 500]]', { profile: 'key', session_id: answers[1]?.body.session_id }),
    await call('POST', '/v1/prompts', { token: 'nobody-has-this', body: { prompt: 'x' } }),
  ];
  for (const { status: code } of failures) t.ok(code >= 400, `${code}`);
  t.match(failures[0]?.body, { code: 'login_required' });
  t.match(failures[1]?.body, { code: 'cli_unavailable' });
  const cloudCall = api.requests.find(({ headers }) =>
    /AKIAEXAMPLE/.test(`${headers.authorization}`),
  );
  t.ok(cloudCall, 'the cloud was asked in the name of its key');

  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
  const { body: after } = await call('GET', '/v1/status');
  const places = {
    logs: log.text,
    metrics,
    status: JSON.stringify([status, after]),
    answers: JSON.stringify(answers.map(({ body, headers }) => [body, ...headers])),
    problems: JSON.stringify(failures.map(({ body, headers }) => [body, ...headers])),
  };
  for (const [place, text] of Object.entries(places)) {
    t.same(
      all.filter((secret) => text.includes(secret)),
      [],
      `none in the ${place}`,
    );
  }
  t.match(
    metrics,
    /berth_login_expiry_timestamp_seconds\{estimated="true",of="setup-token",profile="setup"\} \d+/,
  );
  t.match(after.credentials.setup_tokens, [{ profile: 'setup', expires_at: String }]);
});
