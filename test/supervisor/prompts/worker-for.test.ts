import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';
import type { Profile } from '../../../supervisor/profiles/profile.ts';
import { LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import {
  type Wanted,
  type WorkerForOptions,
  workerFor,
} from '../../../supervisor/prompts/worker-for.ts';
import { captureLog } from '../../support/captured-log.ts';

const limited = new BerthError('usage_limit', 'x');

interface Surroundings {
  onLimit?: Prompt['onLimit'];
  /** Called for each pass that is checked before the prompt is sent. */
  check?: () => void;
  checkQuota?: () => void;
  use?: () => Promise<undefined>;
  bind?: () => Promise<void>;
  acquire?: (wanted: { onQueued: (position: number) => void }) => void;
  continues?: boolean;
  renewed?: Prompt['renewed'];
  /** The MCP servers that the profile requires. */
  required?: string[];
  /** How many workers end while they are prepared. */
  ends?: number;
}

/** What the search for a worker has called, in its order. */
async function search(options: Surroundings = {}) {
  const calls: string[] = [];
  const events: unknown[] = [];
  let acquired = 0;
  const live = new LivePrompts().accept({
    ...{ token: 'tests', timeout: 60_000, onLimit: options.onLimit ?? 'fail', lane: 'interactive' },
    ...(options.renewed ? { renewed: options.renewed } : {}),
    profile: { mcp: { required: options.required ?? [] } },
  } as never);
  const parts = {
    gate: {
      pass: async () => {
        calls.push('pass');
        return { check: () => options.check?.(), withdraw: () => calls.push('withdraw') };
      },
    },
    pool: {
      count: () => 0,
      acquire: async (wanted: { spec: { spare?: unknown }; onQueued: () => void }) => {
        acquired += 1;
        options.acquire?.(wanted as never);
        calls.push(wanted.spec.spare ? 'acquire a spare' : 'acquire');
        const alive = acquired > (options.ends ?? 0);
        const control = async () => {
          if (alive) return { mcpServers: [{ name: 'docs', status: 'connected' }] };
          throw new BerthError('cli_unavailable', 'x');
        };
        const server = () => (alive ? { name: 'docs', status: 'connected' } : undefined);
        const health = { reports: [], serversAre: () => {}, server };
        const process = { alive, control, health };
        const name = `worker-${acquired}`;
        const bind = async () => wanted.spec.spare && (await options.bind?.());
        return { name, process, spec: { profile: 'p' }, bind } as unknown as Worker;
      },
      giveBack: ({ name }: Worker) => calls.push(`give ${name} back`),
      recycle: async ({ name }: Worker) => calls.push(`recycle ${name}`),
    },
    logins: {
      keyOf: () => 'login',
      use: options.use ?? (async () => ({ over: async () => calls.push('login is not used') })),
    },
    admission: { checkQuota: () => options.checkQuota?.() },
    specs: { of: () => ({ profile: 'p' }) },
    approvals: { releaseOne: () => calls.push('release a turn that waits for a person') },
    cliProblems: { note: () => {} },
    log: captureLog().log,
  } as unknown as WorkerForOptions;
  const spec = { profile: 'p', spare: { key: 'spare' } };
  const { continues = false } = options;
  const wanted = { live, spec, continues } as unknown as Wanted;
  const outcome = await workerFor(parts, wanted, (event) => events.push(event)).then(
    ({ worker }) => worker.name,
    (error: BerthError) => error.code,
  );
  return { outcome, calls, events, live };
}

/** Throws the first time. */
function once(error: BerthError): () => void {
  const errors = [error];
  return () => {
    const next = errors.pop();
    if (next) throw next;
  };
}

t.test('a prompt gets a pass, then a worker', async (t) => {
  const { outcome, calls, live } = await search();
  t.equal(outcome, 'worker-1');
  t.same(calls, ['pass', 'acquire a spare']);
  t.equal(live.state, 'queued');
});

t.test('a prompt in the queue takes the place of a turn that waits for a person', async (t) => {
  const { calls, events } = await search({ acquire: ({ onQueued }) => onQueued(2) });
  t.same(calls.slice(0, 2), ['pass', 'release a turn that waits for a person']);
  t.same(events, [{ event: 'queued', data: { position: 2 } }]);
});

t.test('a limit that closes the gate meanwhile sends the prompt back to wait', async (t) => {
  const { outcome, calls } = await search({ onLimit: 'wait', check: once(limited) });
  t.equal(outcome, 'worker-2');
  const again = ['give worker-1 back', 'login is not used', 'withdraw'];
  t.same(calls, ['pass', 'acquire a spare', ...again, 'pass', 'acquire a spare']);
});

t.test(
  'a prompt that does not wait for limits fails, and keeps no worker and no pass',
  async (t) => {
    const { outcome, calls } = await search({ check: once(limited) });
    t.equal(outcome, 'usage_limit');
    t.same(calls.slice(2), ['give worker-1 back', 'login is not used', 'withdraw']);
  },
);

t.test(
  'the quota counts for a prompt that has waited, and not for a turn that goes on',
  async (t) => {
    const reserved = new BerthError('quota_reserved', 'x');
    const checked = (continues: boolean) =>
      search({ onLimit: 'wait', continues, checkQuota: once(reserved) });
    t.equal((await checked(false)).outcome, 'quota_reserved');
    t.equal((await checked(true)).outcome, 'worker-1');
  },
);

t.test('a pass is checked last, when nothing else can refuse the prompt', async (t) => {
  const checks: string[] = [];
  const note = (check: string) => () => void checks.push(check);
  await search({
    acquire: note('worker'),
    checkQuota: note('quota'),
    renewed: note('profile') as Prompt['renewed'],
    check: note('pass'),
  });
  t.same(checks, ['profile', 'worker', 'quota', 'profile', 'pass']);
});

t.test('a login that cannot be used returns the worker and the pass', async (t) => {
  const use = () => Promise.reject(new BerthError('login_required', 'x'));
  const { outcome, calls } = await search({ use });
  t.equal(outcome, 'login_required');
  t.same(calls.slice(2), ['give worker-1 back', 'withdraw']);
});

t.test('a spare that refuses its options is replaced by a process with flags', async (t) => {
  const bind = () => Promise.reject(new BerthError('cli_unavailable', 'x'));
  const { outcome, calls } = await search({ bind });
  t.equal(outcome, 'worker-2');
  const refused = ['recycle worker-1', 'login is not used', 'withdraw'];
  t.same(calls, ['pass', 'acquire a spare', ...refused, 'pass', 'acquire']);
});

t.test('a worker that ends while it is prepared is replaced once', async (t) => {
  for (const required of [[], ['docs']]) {
    t.equal((await search({ required, ends: 1 })).outcome, 'worker-2');
    t.equal((await search({ required, ends: 2 })).outcome, 'cli_unavailable');
  }
});

t.test('a prompt whose profile has changed gets a process with the new flags', async (t) => {
  const profile = { mcp: { required: [] } } as unknown as Profile;
  const answers = [undefined, { profile, overrides: {} }];
  const { outcome, calls, live } = await search({ renewed: () => answers.shift() });
  t.equal(outcome, 'worker-2');
  const again = ['give worker-1 back', 'login is not used', 'withdraw'];
  t.same(calls, ['pass', 'acquire a spare', ...again, 'pass', 'acquire']);
  t.equal(live.prompt.profile, profile);
});

t.test('a prompt that its profile no longer allows is not sent', async (t) => {
  const renewed = () => {
    throw new BerthError('invalid_request', 'x');
  };
  const { outcome, calls } = await search({ onLimit: 'wait', renewed });
  t.equal(outcome, 'invalid_request');
  t.same(calls, ['pass', 'withdraw']);
  t.equal(
    (await search({ continues: true, renewed })).outcome,
    'worker-1',
    'a turn that goes on is',
  );
});
