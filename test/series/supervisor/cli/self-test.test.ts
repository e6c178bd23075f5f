import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { toolDenied } from '../../../../supervisor/claude/late-options.ts';
import { selfTest } from '../../../../supervisor/cli/self-test.ts';
import { readSupervisorConfig } from '../../../../supervisor/config.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { makeSurroundings, realClaude, scripted, scriptedClaude } from '../../../support/claude.ts';
import { makeSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 2;

async function prepare(t: Parameters<typeof makeSurroundings>[0], path: string) {
  const surroundings = await makeSurroundings(t);
  const temporary = join(surroundings.workspace, 'tmp');
  mkdirSync(temporary);
  const { config } = readSupervisorConfig({
    ...surroundings.inherited,
    BERTH_CONFIG_DIR: surroundings.config,
    BERTH_CLAUDE_PATH: path,
    TMPDIR: temporary,
  });
  const log = captureLog();
  const { signal } = new AbortController();
  return {
    options: { config, version: '2.1.330', path, firstWorker: undefined, log: log.log, signal },
    surroundings,
    temporary,
    log,
  };
}

t.test('the real CLI passes, without a login and without a trace', async (t) => {
  const { options, surroundings, temporary, log } = await prepare(t, realClaude);
  t.strictSame(await selfTest(options), { learnsLate: true });
  t.match(log.lines, [
    { level: 'info', event: 'cli_tested', cli_version: '2.1.330', by: 'process' },
  ]);
  t.strictSame(readdirSync(surroundings.config), [], 'the volume was not touched');
  t.strictSame(
    readdirSync(temporary).filter((name) => name.startsWith('berth-')),
    [],
  );
  t.same(surroundings.api.requests, [], 'no model was asked');
});

t.test('a CLI that has passed is not tested again', async (t) => {
  const { options, log } = await prepare(t, '/nowhere/claude');
  await selfTest({ ...options, passed: { learnsLate: true }, firstWorker: Promise.resolve(true) });
  t.match(log.lines, [{ event: 'cli_tested', by: 'worker' }]);
});

/** A CLI with a filter before its input or behind its output. */
function filtered(directory: string, pipeline: string): string {
  const path = join(directory, 'claude-that-is-filtered');
  writeFileSync(path, `#!/bin/sh\n${pipeline}\n`);
  chmodSync(path, 0o755);
  return path;
}

t.test('a CLI that runs a command in a prompt is refused, even if its workers start', async (t) => {
  const { options, surroundings } = await prepare(t, realClaude);
  const withoutMark = `sed -u 's/"client_composed":true,//' | '${realClaude}' "$@"`;
  const path = filtered(surroundings.workspace, withoutMark);
  await t.rejects(selfTest({ ...options, path, firstWorker: Promise.resolve(true) }), {
    code: 'cli_unavailable',
    exitCode: 69,
    message: /^cannot use Claude Code .*: it runs commands in a prompt; use a tested version/,
  });
});

t.test('a CLI that does not report the cost of a turn is refused', async (t) => {
  const { options, surroundings } = await prepare(t, scriptedClaude);
  const withoutCost = `'${scriptedClaude}' "$@" | sed -u 's/model_usage_since_last_result/left_out/'`;
  const path = filtered(surroundings.workspace, withoutCost);
  await t.rejects(selfTest({ ...options, path }), {
    code: 'cli_unavailable',
    message: /it does not report the cost of a turn/,
  });
});

t.test(
  'a CLI whose prompts lack the instructions, the skills or the login is refused',
  async (t) => {
    const { options, surroundings } = await prepare(t, realClaude);
    const without = (before: string): string => `${before}; exec '${scriptedClaude}' "$@"`;
    const failing: [string, RegExp][] = [
      [
        without('rm -f "$CLAUDE_CONFIG_DIR/CLAUDE.md"'),
        /the instructions of CLAUDE\.md do not reach the model/,
      ],
      [without('rm -rf "$CLAUDE_CONFIG_DIR/skills"'), /the skills do not reach the model/],
      [without('export ANTHROPIC_API_KEY=other'), /it does not send the login/],
      [`exec '${realClaude}' --bare "$@"`, /do not reach the model|Not logged in/],
    ];
    for (const [pipeline, message] of failing) {
      const path = filtered(surroundings.workspace, pipeline);
      await t.rejects(selfTest({ ...options, path }), { code: 'cli_unavailable', message });
    }
  },
);

t.test(
  'each kind of login is tested, each time with a CLI that ignores a late option',
  async (t) => {
    const { options, surroundings, log } = await prepare(t, realClaude);
    // What the CLI ignores with each login: the request is acknowledged and has no effect.
    const ignoring = {
      CLAUDE_CODE_OAUTH_TOKEN: {
        change: 's/"appendSystemPrompt"/"ignored"/',
        msg: /the appended instructions had no effect/,
      },
      ANTHROPIC_AUTH_TOKEN: {
        change: 's/"permissionDecision":"deny"/"ignored":1/',
        msg: /a list of tools had no effect/,
      },
      'login file': {
        change: 's/"mode":"manual"/"mode":"acceptEdits"/',
        msg: /the permission mode had no effect/,
      },
    };
    const logins = ['CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN', 'login file'] as const;
    const output = (login: string) => join(surroundings.workspace, `output of ${login}`);
    const changes = logins.map((login) => `'${login}') change='${ignoring[login].change}';;`);
    const pipeline = `login='login file'
if [ -n "$CLAUDE_CODE_OAUTH_TOKEN" ]; then login=CLAUDE_CODE_OAUTH_TOKEN; fi
if [ -n "$ANTHROPIC_AUTH_TOKEN" ]; then login=ANTHROPIC_AUTH_TOKEN; fi
case $login in ${changes.join(' ')} esac
sed -u "$change" | '${realClaude}' "$@" | tee "${output('$login')}"`;
    const path = filtered(surroundings.workspace, pipeline);
    const tested = await selfTest({ ...options, path, logins });
    const levels = (wanted: string) => log.lines.filter(({ level }) => level === wanted);

    t.test('each kind of login that is in use is tested', async (t) => {
      t.match(levels('info'), [{ event: 'cli_tested', by: 'process' }]);
    });

    t.test('a late option that is not ignored has its effect with each login', async (t) => {
      const effects = (login: string) => {
        const text = readFileSync(output(login), 'utf8');
        const lines = text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line));
        const result = lines.find(({ type }) => type === 'result');
        const denied = result.permission_denials.map(
          (each: { tool_name: string }) => each.tool_name,
        );
        return {
          schema: result.structured_output,
          tools: text.includes(toolDenied),
          mode: denied.includes('Write'),
        };
      };
      const all = { schema: { answer: 'ok' }, tools: true, mode: true };
      t.strictSame(effects('CLAUDE_CODE_OAUTH_TOKEN'), all);
      t.strictSame(effects('ANTHROPIC_AUTH_TOKEN'), { ...all, tools: false });
      t.strictSame(effects('login file'), { ...all, mode: false });
    });

    t.test('a CLI that ignores late options is used without shared spares', async (t) => {
      t.strictSame(tested, { learnsLate: false });
      const warnings = logins.map((login) => ({ event: 'cli_tested', msg: ignoring[login].msg }));
      // A retry after a start that failed for a transient reason is a warning as well.
      const given = levels('warn').filter((line) => !('retry_ms' in line));
      t.match(given, warnings);
      t.equal(given.length, warnings.length);
    });
  },
);

t.test('a CLI that refuses a late option is used without shared spares', async (t) => {
  const { options, log } = await prepare(t, scriptedClaude);
  t.strictSame(await selfTest(options), { learnsLate: false });
  const msg = /it answered .*no schema and no hooks are known/;
  t.match(log.lines, [{ level: 'warn', event: 'cli_tested', msg }, { level: 'info' }]);
});

t.test('the test uses neither the login nor the API of the container', async (t) => {
  const { options, surroundings, log } = await prepare(t, scriptedClaude);
  const seen = join(surroundings.workspace, 'environment');
  const path = filtered(surroundings.workspace, `env > '${seen}'; exec '${scriptedClaude}' "$@"`);
  const inherited = {
    ...options.config.inherited,
    HTTPS_PROXY: 'http://proxy.example',
    HTTP_PROXY: 'http://proxy.example',
    CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-no-such-token',
    CLAUDE_CODE_USE_BEDROCK: '1',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector.example',
  };
  await selfTest({ ...options, path, config: { ...options.config, inherited } });
  t.match(log.lines.at(-1), { level: 'info', event: 'cli_tested' });
  const environment = readFileSync(seen, 'utf8');
  t.notMatch(environment, /proxy\.example|no-such-token|BEDROCK|OTEL/i);
  t.match(environment, /^ANTHROPIC_BASE_URL=http:\/\/127\.0\.0\.1:/m);
  t.same(surroundings.api.requests, []);
});

t.test('a CLI that managed settings send to another API passes with a warning', async (t) => {
  const { options, surroundings, log } = await prepare(t, scriptedClaude);
  const other = `ANTHROPIC_BASE_URL=${surroundings.api.url} exec '${scriptedClaude}' "$@"`;
  await selfTest({ ...options, path: filtered(surroundings.workspace, other) });
  t.match(log.lines, [
    { level: 'warn', event: 'cli_tested', msg: /it is not proven that a prompt is data/ },
    { level: 'info', event: 'cli_tested' },
  ]);
});

t.test('the error for a failing CLI has the version and the last lines of the CLI', async (t) => {
  const { options } = await prepare(t, scripted('claude-that-exits'));
  await t.rejects(selfTest({ ...options, firstWorker: Promise.resolve(false) }), {
    code: 'cli_unavailable',
    message:
      /^cannot use Claude Code 2\.1\.330 at .*: it fails its self-test .*exit code 3.*cannot open the moon/s,
  });
});

t.test('a CLI that hangs fails the test and is ended', async (t) => {
  const { options } = await prepare(t, scripted('claude-that-is-silent'));
  await t.rejects(selfTest({ ...options, patience: 300 }), {
    code: 'cli_unavailable',
    message: /it did not answer within 0\.3 s/,
  });
});

/** A CLI that is ended by SIGABRT so many times, as for want of memory, and then works. */
function abortsAtFirst(directory: string, times: number): string {
  const path = join(directory, 'claude-that-aborts');
  const count = join(directory, 'count');
  const script = `#!/bin/sh
echo >> '${count}'
if [ $(wc -l < '${count}') -le ${times} ]; then kill -ABRT $$; fi
exec '${scriptedClaude}' "$@"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

t.test('a CLI that aborts for lack of memory or processes is retried and passes', async (t) => {
  const { options, surroundings, log } = await prepare(t, scriptedClaude);
  await selfTest({ ...options, path: abortsAtFirst(surroundings.workspace, 2) });
  const retries = log.lines.filter((line) => 'retry_ms' in line || 'by' in line);
  t.match(retries, [
    { level: 'warn', event: 'cli_tested', retry_ms: 500, msg: /SIGABRT.*memory/ },
    { level: 'warn', event: 'cli_tested', retry_ms: 1_000 },
    { level: 'info', event: 'cli_tested', by: 'process' },
  ]);
});

t.test(
  'if the aborts continue, the error names the limit to raise and not the version',
  async (t) => {
    const { options, surroundings } = await prepare(t, scriptedClaude);
    const path = abortsAtFirst(surroundings.workspace, 1_000);
    await t.rejects(selfTest({ ...options, path, retryFor: 600 }), {
      code: 'cli_unavailable',
      exitCode: 69,
      message: /^cannot test Claude Code .*raise resources\.limits\.memory, or the pids limit/,
    });
  },
);

t.test('a stop ends the test at once', async (t) => {
  const { options } = await prepare(t, scripted('claude-that-is-silent'));
  const stop = new AbortController();
  const tested = selfTest({ ...options, signal: stop.signal });
  stop.abort(new Error('enough'));
  await t.rejects(tested, /enough/);
});

t.test('a CLI that cannot be used is fatal, and never ready', async (t) => {
  const { supervisor, fatal, metricsUrl } = await started(t, 'claude-that-exits');
  await until('it is told', () => fatal.length > 0);
  t.match(fatal, [{ code: 'cli_unavailable', exitCode: 69, message: /self-test/ }]);
  t.equal((await fetch(`${metricsUrl()}/readyz`)).status, 503);
  await supervisor.stop();
});

t.test('a configuration that prevents worker starts is not reported as a broken CLI', async (t) => {
  // Works on the configuration of the test, which has no such skill.
  const script = `#!/bin/sh
if [ "$1" != --version ] && [ -e "$CLAUDE_CONFIG_DIR/skills/bad" ]; then echo "a bad skill" >&2; exit 3; fi
exec '${scriptedClaude}' "$@"
`;
  const surroundings = await makeSurroundings(t);
  mkdirSync(join(surroundings.config, 'skills/bad'), { recursive: true });
  const path = join(surroundings.workspace, 'claude');
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  const commit = (digit: string) => ({ repository: 'me/dot-claude', commit: digit.repeat(40) });
  const state = join(surroundings.config, '.berth');
  mkdirSync(state);
  const report = JSON.stringify({ version: 1, ...commit('b') });
  writeFileSync(join(state, 'report.json'), report);
  const good = JSON.stringify({ version: 1, profiles: { default: commit('a') } });
  writeFileSync(join(state, 'good-commits.json'), good);
  const made = await makeSupervisor(t, {
    surroundings,
    settings: { BERTH_CLAUDE_PATH: path, BERTH_WARM_WORKERS: '1' },
    parts: { testCli: selfTest },
  });
  await made.supervisor.start(new AbortController().signal);
  await until('it is ready', async () => (await fetch(`${made.metricsUrl}/readyz`)).ok);
  t.match(await made.log.logged('cli_tested', ({ by }) => by === 'process'), { level: 'warn' });
  t.match(await made.prompt('hello'), {
    status: 503,
    body: {
      code: 'cli_unavailable',
      retryable: true,
      detail: /a bad skill.*since commit bbbbbbb \(last good aaaaaaa\)/s,
      commit: 'b'.repeat(40),
    },
  });
  const { body } = await made.call('GET', '/v1/status');
  t.match(body.launch_failures, [
    {
      profile: 'default',
      stderr: ['a bad skill'],
      commit: 'b'.repeat(40),
      last_good_commit: 'a'.repeat(40),
    },
  ]);
  t.match(await made.log.logged('worker_failed'), { error: { message: /since commit bbbbbbb/ } });
  const metrics = await (await fetch(`${made.metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_launch_failing\{profile="default"\} 1$/m);
  t.ok(existsSync(join(state, 'good-commits.json')));
  t.same(made.fatal, []);
});

async function started(t: Parameters<typeof makeSurroundings>[0], name: string) {
  const made = await makeSupervisor(t, {
    settings: { BERTH_CLAUDE_PATH: scripted(name), BERTH_WARM_WORKERS: '1' },
    parts: { testCli: selfTest },
  });
  await made.supervisor.start(new AbortController().signal);
  return { ...made, metricsUrl: () => made.metricsUrl };
}
