import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { ProcessEnd } from '../../../supervisor/claude/child.ts';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { Launches } from '../../../supervisor/pool/launches.ts';
import type { ProcessSpec } from '../../../supervisor/pool/process-spec.ts';
import { captureLog } from '../../support/captured-log.ts';

const broken = new BerthError('cli_unavailable', 'cannot start a worker: it is broken');
const killed = new BerthError('cli_unavailable', 'x', { details: { signal: 'SIGKILL' } });
const cleanEnd: ProcessEnd = { exitCode: 0, signal: null, stderr: '' };

/** Processes that start and end when the test says so. */
function makeLaunches(t: Test) {
  const seen: string[] = [];
  const starts: { succeed: () => void; fail: (error: unknown) => void; end: () => void }[] = [];
  const prepared: Promise<void>[] = [];
  const process = (): ClaudeProcess => {
    const preparation = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<ProcessEnd>();
    prepared.push(preparation.promise);
    const end = () => ended.resolve(cleanEnd);
    starts.push({ succeed: preparation.resolve, fail: preparation.reject, end });
    const stop = async () => {
      end();
      return cleanEnd;
    };
    return { pid: 1, stderr: '', background: [], ended: ended.promise, stop } as never;
  };
  const spec = (more: Partial<ProcessSpec> = {}): ProcessSpec => ({
    ...{ profile: 'p', key: 'k', sessionId: undefined, resumes: false, once: false, own: false },
    launch: process,
    ...more,
  });
  const launches = new Launches({
    prepare: () => prepared[prepared.length - 1] as Promise<void>,
    clearAway: async (name) => void seen.push(`${name} is cleared away`),
    beforeEnd: async () => {},
    log: captureLog().log,
    onChange: () => {},
    onSessionFailed: (id) => seen.push(`session ${id} failed`),
    onOwnFailed: (key, error) => seen.push(`request ${key} failed: ${error.message}`),
    explain: (_profile, error) => error,
    onStart: (profile, ready) => seen.push(`${profile} ${ready ? 'started' : 'failed'}`),
    onHopeless: (profile) => seen.push(`${profile} is hopeless`),
    onCrash: () => seen.push('crashed'),
    onWorkLost: () => {},
  });
  t.teardown(() => launches.stop());
  /** One launch that fails, until the worker is gone. */
  const failOnce = async (error: unknown, wanted: ProcessSpec): Promise<void> => {
    launches.launch(wanted);
    const [worker] = launches.workers;
    starts.at(-1)?.fail(error);
    await worker?.gone;
  };
  return { launches, spec, starts, seen, failOnce };
}

t.test('a started worker is warm, or idle if it resumes a session', async (t) => {
  const { launches, spec, starts, seen } = makeLaunches(t);
  for (const [sessionId, state] of [
    [undefined, 'warm'],
    ['s', 'idle'],
  ] as const) {
    launches.launch(spec({ sessionId }));
    const worker = [...launches.workers].at(-1);
    t.equal(worker?.state, 'starting');
    starts.at(-1)?.succeed();
    await new Promise(setImmediate);
    t.equal(worker?.state, state);
  }
  t.same(seen, ['p started', 'p started']);
});

t.test('after three failed starts prompts of the profile do not wait', async (t) => {
  const { launches, spec, seen, failOnce } = makeLaunches(t);
  await failOnce(broken, spec());
  t.equal(launches.mayLaunch('p'), false, 'a pause follows');
  t.equal(launches.mayLaunch('other'), true);
  await failOnce(broken, spec());
  t.equal(launches.hopeless('p'), undefined);
  await failOnce(broken, spec());
  t.equal(launches.hopeless('p'), broken);
  t.equal(launches.failures.get('p')?.attempts, 3);
  t.ok(seen.includes('p is hopeless'));
  launches.forgive();
  t.equal(launches.hopeless('p'), undefined);
  t.equal(launches.mayLaunch('p'), true);
});

t.test('a refusal of the system counts as a failed start', async (t) => {
  const { launches, spec } = makeLaunches(t);
  const launch = () => {
    throw new Error('spawn ENOMEM');
  };
  launches.launch(spec({ launch }));
  t.equal(launches.workers.size, 0);
  t.match(launches.failures.get('p')?.error, { code: 'cli_unavailable', message: /ENOMEM/ });
});

t.test('a session that cannot be resumed slows no other start down', async (t) => {
  const { launches, spec, seen, failOnce } = makeLaunches(t);
  await failOnce(broken, spec({ sessionId: 's' }));
  t.same(seen, ['session s failed', 'worker-1 is cleared away']);
  t.equal(launches.mayLaunch('p'), true);
});

t.test('a session whose process was killed at its start is started once more', async (t) => {
  const { spec, seen, failOnce } = makeLaunches(t);
  await failOnce(killed, spec({ sessionId: 's' }));
  t.notOk(seen.includes('session s failed'));
  await failOnce(killed, spec({ sessionId: 's' }));
  t.ok(seen.includes('session s failed'));
});

t.test('flags that the CLI rejects fail their own request alone', async (t) => {
  const { launches, spec, seen, failOnce } = makeLaunches(t);
  await failOnce(broken, spec({ own: true }));
  t.match(seen[0], /^request k failed: .*needs its own process/);
  t.equal(launches.mayLaunch('p'), true);
});

t.test('a worker that ends by itself is a crash, and leaves the list', async (t) => {
  const { launches, spec, starts, seen } = makeLaunches(t);
  launches.launch(spec());
  const [worker] = launches.workers;
  starts[0]?.succeed();
  await new Promise(setImmediate);
  starts[0]?.end();
  await worker?.gone;
  t.same(seen, ['p started', 'crashed', 'p failed', 'worker-1 is cleared away']);
  t.equal(launches.workers.size, 0);
  t.match(launches.failures.get('p')?.error.message, /ended by itself/);
});
