import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { version } from '../../../shared/version.ts';
import { type Harbour, openHarbour, token, walk } from '../../init/fixture.ts';
import { initBundle, runProgram, startProgram } from '../../init/process.ts';
import { until } from '../../support/until.ts';

const termination = (harbour: Harbour) =>
  readFileSync(join(harbour.directory, 'termination-log'), 'utf8');

/** A run with the termination message file that Kubernetes makes. */
function run(harbour: Harbour, overrides: Record<string, string> = {}) {
  writeFileSync(join(harbour.directory, 'termination-log'), '');
  return runProgram(harbour.environment(overrides));
}

t.test('runs on one volume, one after the other', async (t) => {
  const harbour = await openHarbour(t);

  await t.test('one run prepares the volume and logs the report in one line', async (t) => {
    const { code, lines } = await run(harbour);
    t.equal(code, 0);
    t.equal(harbour.read('CLAUDE.md'), '# one\n');
    const report = JSON.parse(harbour.read('.berth/report.json') ?? '');
    const { version: report_version, ...rest } = report;
    const heading = { level: 'info', event: 'report', service: 'berth-init', version };
    t.match(lines.at(-1), { ...heading, report_version, ...rest });
    t.match(report, {
      version: 1,
      repository: harbour.url,
      ref: 'main',
      commit: harbour.repository.head(),
      previous_commit: null,
      remote: 'current',
      written: 2,
      credentials: { from: 'none' },
      duration_ms: Number,
      bytes: Number,
    });
    t.equal(termination(harbour), '', 'there is nothing to say in the termination message');
  });

  await t.test('a second run keeps the files of the CLI', async (t) => {
    writeFileSync(join(harbour.volume, '.claude.json'), '{"cli":true}');
    writeFileSync(join(harbour.volume, 'history.jsonl'), 'history');
    harbour.repository.commit({ 'CLAUDE.md': 'two' });
    await run(harbour);
    t.strictSame(harbour.tree(), {
      'CLAUDE.md': 'two',
      'history.jsonl': 'history',
      'settings.json': '{}\n',
    });
    t.match(JSON.parse(harbour.read('.claude.json') ?? ''), { cli: true });
  });

  await t.test(
    'a run that continues without the server succeeds, and its termination message says why',
    async (t) => {
      harbour.server.fault({ kind: 'status', status: 404 });
      const { code, lines } = await run(harbour);
      t.equal(code, 0);
      t.match(termination(harbour), /continued without it: .*the repository does not exist/);
      t.match(
        lines.filter(({ level }) => level === 'error'),
        [{ event: 'remote_failed' }],
      );
    },
  );
});

t.test('the token is neither on the volume nor in the log nor in an argument', async (t) => {
  const harbour = await openHarbour(t);
  const withLogin = harbour.url.replace('://', `://bob:${token}@`);
  const environments: Record<string, string>[] = [
    { BERTH_LOG_LEVEL: 'debug' },
    { BERTH_REPO: withLogin },
  ];
  for (const environment of environments) {
    harbour.repository.commit({ 'CLAUDE.md': `${Math.random()}` });
    const running = startProgram(harbour.environment(environment));
    const commandLine = readFileSync(`/proc/${running.pid}/cmdline`, 'utf8');
    const { output, code } = await running.ended;
    t.equal(code, 0);
    t.notMatch(commandLine, token);
    t.notOk(output.includes(token));
  }
  harbour.server.fault({ kind: 'status', status: 401 });
  const refused = await run(harbour, { BERTH_ON_REMOTE_FAILURE: 'fail', BERTH_REPO: withLogin });
  t.equal(refused.code, 77);
  t.notOk((refused.output + termination(harbour)).includes(token));
  const basic = Buffer.from(`oauth2:${token}`).toString('base64');
  for (const path of walk(harbour.volume)) {
    const content = readFileSync(join(harbour.volume, path));
    t.notOk(content.includes(token) || content.includes(basic), path);
  }
});

/** A run fails with this exit code and one line of cause and remedy. */
async function runFails(
  t: Test,
  harbour: Harbour,
  code: number,
  message: RegExp,
  overrides: Record<string, string> = {},
): Promise<void> {
  const ended = await run(harbour, overrides);
  t.equal(ended.code, code, String(message));
  t.match(termination(harbour), message);
  t.match(termination(harbour), /^[^\n]+\n$/, 'one line');
  t.match(ended.lines.at(-1), { level: 'error', event: 'failed', exit_code: code });
}

t.test('every failure has its exit code and one line of cause and remedy', async (t) => {
  const harbour = await openHarbour(t);
  const fails = (code: number, message: RegExp, overrides?: Record<string, string>) =>
    runFails(t, harbour, code, message, overrides);
  await fails(64, /BERTH_UID: "x" is not valid.*; BERTH_TIMEOUT/, {
    BERTH_UID: 'x',
    BERTH_TIMEOUT: 'y',
  });
  await fails(69, /nothing listens there/, { BERTH_REPO: 'http://127.0.0.1:1/a/b' });
  await fails(73, /mount the volume there/, {
    BERTH_CONFIG_DIR: join(import.meta.dirname, 'missing'),
  });
  await fails(77, /no branch or tag "mian"; did you mean main\?/, { BERTH_REF: 'mian' });
  await harbour.run();
  writeFileSync(join(harbour.volume, '.berth/applied.json'), '{"version":9}');
  await fails(65, /format version 9.*run the newer version/);
});

// The first four wait for most of BERTH_TIMEOUT, which leaves a slow machine time for the start and the end of a run.
t.test('runs that have to wait end within BERTH_TIMEOUT', { jobs: 5 }, async (t) => {
  const BERTH_TIMEOUT = '14s';

  t.test('a run without an answer of the server has time to finish without it', async (t) => {
    const harbour = await openHarbour(t);
    await harbour.run();
    harbour.server.fault({ kind: 'hang' });
    const { code } = await run(harbour, { BERTH_TIMEOUT });
    t.equal(code, 0);
  });

  t.test('the first run ends with 69 if the server does not answer', async (t) => {
    const harbour = await openHarbour(t);
    harbour.server.fault({ kind: 'hang' });
    await runFails(t, harbour, 69, /took too long/, { BERTH_TIMEOUT });
  });

  t.test('a thread that hangs does not keep such a run from its end', async (t) => {
    const harbour = await openHarbour(t);
    const hanging = withHangingThreads(harbour, 1);
    harbour.server.fault({ kind: 'hang' });
    const late = await runProgram(harbour.environment({ BERTH_TIMEOUT }), hanging);
    t.equal(late.code, 69, late.output);
    t.match(late.lines.at(-1), { event: 'failed' });
  });

  t.test('a lease that another program keeps ends the run with 75', async (t) => {
    const harbour = await openHarbour(t);
    const { acquireLease } = await import('../../../shared/lease.ts');
    const lease = await acquireLease({
      directory: join(harbour.volume, '.berth'),
      program: 'serve',
      log: harbour.log,
      signal: new AbortController().signal,
      heartbeat: 200,
    });
    const { code } = await run(harbour, { BERTH_TIMEOUT });
    t.equal(code, 75);
    t.match(termination(harbour), /serve on .* holds it; only one pod may use the volume/);
    await lease.release();
  });

  t.test(
    'a bug in any part of a run ends the run with 70, and the next run succeeds',
    async (t) => {
      const harbour = await openHarbour(t);
      const bugs = {
        'in a step': `const { toString } = Buffer.prototype;
      Buffer.prototype.toString = function (...all) {
        if (all[0] === 'base64') throw new TypeError('made up');
        return toString.apply(this, all);
      };`,
        'beside the steps': `setTimeout(() => { throw new TypeError('made up') }, 1000);`,
        'in a promise that nobody waits for': `setTimeout(() => Promise.reject(new TypeError('made up')), 1000);`,
      };
      for (const [where, code] of Object.entries(bugs)) {
        harbour.server.fault({ kind: 'hang' });
        const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(code)}`;
        const ended = await run(harbour, { NODE_OPTIONS });
        t.equal(ended.code, 70, `${where}: ${ended.output}`);
        t.match(termination(harbour), /^cannot continue: made up; this is a bug in berth, .*\n$/);
        t.match(ended.lines.at(-1), { event: 'failed', code: 'internal', exit_code: 70 });
        t.match(ended.lines.at(-1), { error: { stack: /TypeError/ } }, 'with its stack');
        t.notOk(ended.output.includes(token));
        harbour.server.fault(undefined);
        t.match(await harbour.run(), { remote: 'current' }, where);
      }
    },
  );
});

t.test('a bug in reading objects is not blamed on the git server', async (t) => {
  const harbour = await openHarbour(t, { 'docs/a.md': 'a' });
  const code = `const { indexOf } = Buffer.prototype;
  Buffer.prototype.indexOf = function (...all) {
    if (/parseTree/.test(new Error().stack)) throw new TypeError('made up');
    return indexOf.apply(this, all);
  };`;
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(code)}`;
  const { code: exit, lines, output } = await run(harbour, { NODE_OPTIONS });
  t.equal(exit, 70, output);
  t.match(lines.at(-1), { event: 'failed', code: 'internal' });
});

t.test('SIGTERM ends the run at once, and the run releases the lease', async (t) => {
  const harbour = await openHarbour(t);
  harbour.server.fault({ kind: 'hang' });
  const running = startProgram(harbour.environment());
  await until('it asks the server', () => harbour.server.requests.length > 0);
  running.kill('SIGTERM');
  const { code, lines } = await running.ended;
  t.equal(code, 143);
  t.match(lines.at(-1), { event: 'stopped' });
  t.notOk(existsSync(join(harbour.volume, '.berth/lease.json')));
});

/** Starts init with so many of its 4 threads waiting, as for a dead NFS server, for ever. */
function withHangingThreads(harbour: Harbour, count: number): { program: string[] } {
  const fifo = join(harbour.directory, 'fifo');
  const hang = join(harbour.directory, `hang-${count}.mjs`);
  if (!existsSync(fifo)) execFileSync('mkfifo', [fifo]);
  const open = `open(${JSON.stringify(fifo)}, () => {});`.repeat(count);
  writeFileSync(hang, `import { open } from 'node:fs';\n${open}`);
  return { program: ['--import', pathToFileURL(hang).href, initBundle] };
}

t.test('a thread that hangs keeps no run from ending', async (t) => {
  const harbour = await openHarbour(t);
  const hanging = withHangingThreads(harbour, 1);
  harbour.server.fault({ kind: 'hang' });
  const wrong = await runProgram(harbour.environment({ BERTH_REPO: '/' }), hanging);
  t.equal(wrong.code, 64, wrong.output);
  const seen = harbour.server.requests.length;
  const running = startProgram(harbour.environment(), hanging);
  await until('it asks the server', () => harbour.server.requests.length > seen);
  running.kill('SIGTERM');
  t.equal((await running.ended).code, 143);
  harbour.server.fault(undefined);
  t.equal((await runProgram(harbour.environment(), hanging)).code, 0);
});

t.test(
  'if all threads hang, the deadline still ends the run and the log names the cause',
  async (t) => {
    const harbour = await openHarbour(t);
    const hanging = withHangingThreads(harbour, 4);
    const { code, lines } = await runProgram(harbour.environment({ BERTH_TIMEOUT: '1s' }), hanging);
    t.equal(code, 73);
    t.match(lines.at(-1), { event: 'failed', msg: /cannot prepare the volume within 1s/ });
  },
);

t.test('--version and --help need no settings, another argument is refused', async (t) => {
  t.match(await runProgram({}, { arguments: ['--version'] }), {
    code: 0,
    output: /^\d+\.\d+\.\d+\n$/,
  });
  t.match(await runProgram({}, { arguments: ['--help'] }), {
    code: 0,
    output: /BERTH_REPO.*Exit codes/s,
  });
  t.match(await runProgram({}, { arguments: ['serve'] }), { code: 64 });
});
