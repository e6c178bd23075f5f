import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { Peer } from '../../../shared/lease.ts';
import type { LaunchFailure } from '../../../supervisor/pool/backoff.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';
import { ConfigSync } from '../../../supervisor/wiring/config-sync.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

const old = 'a'.repeat(40);
const next = 'b'.repeat(40);
type State = 'starting' | 'idle' | 'busy';

/** The supervisor's parts, and an init at the other end of the link. */
function open({ patience = 10_000, rollBackPatience = 10_000 } = {}) {
  const calls: string[] = [];
  const replies: unknown[] = [];
  const volume = { commit: old, isWhole: true, isReadable: true };
  const prompts = { sent: 0, running: 0 };
  let current: string | undefined = old;
  let lastGood: string | undefined = old;
  let listener: (message: unknown) => void = () => {};
  const workers: Worker[] = [];
  const reports: string[] = [];
  const commits: (string | undefined)[] = [];
  const launchFailures = new Map<string, LaunchFailure>();
  const captured = captureLog();
  const sync = new ConfigSync({
    pool: {
      workers,
      launchFailures,
      freeze: () => void calls.push('freeze'),
      thaw: () => {
        launchFailures.clear();
        calls.push('thaw');
      },
      recycle: async (worker, reason, now = false) => {
        calls.push(`recycle ${worker.name} ${reason}${now ? ' now' : ''}`);
      },
    },
    guard: {
      hold: () => void calls.push('hold'),
      reload: async () => {
        if (!volume.isReadable) throw new Error('half a record');
        calls.push('reload');
        return volume.isWhole;
      },
    },
    lastGood: {
      load: async () => {
        current = volume.commit;
      },
      get current() {
        return current;
      },
      since: () => {
        if (!current || !lastGood || current === lastGood) return undefined;
        const repository = 'github.com/me/claude';
        return {
          commit: { repository, commit: current },
          lastGood: { repository, commit: lastGood },
        };
      },
    },
    initReport: { load: async () => void reports.push('read') },
    onCommit: () => void commits.push(current),
    live: { count: (state) => (state === 'sent' ? prompts.sent : prompts.running) },
    log: captured.log,
    ...{ patience, rollBackPatience },
  });
  const closed = new AbortController();
  const peer: Peer = {
    role: 'sync',
    send: (message) => void replies.push(message),
    onMessage: (given) => {
      listener = given;
    },
    closed: closed.signal,
    close: () => closed.abort(),
  };
  return {
    ...{
      sync,
      calls,
      reports,
      commits,
      replies,
      volume,
      prompts,
      workers,
      launchFailures,
      peer,
      captured,
    },
    /** init has a message for the supervisor. */
    say: (message: unknown) => listener(message),
    addWorker: (name: string, state: State, works = false) =>
      void workers.push({ name, state, works } as unknown as Worker),
    noWorkerWasEverReady: () => {
      lastGood = undefined;
    },
    fail: (attempts: number, message: string, profile = 'default') => {
      const error = new BerthError('cli_unavailable', message);
      launchFailures.set(profile, { error, stderr: '', attempts, since: 0 });
      sync.started(profile, false);
    },
    hasThawed: () => until('prompts go on', () => calls.includes('thaw')),
    isQuiet: () => until('the supervisor is quiet', () => replies.length > 0),
  };
}

/** A supervisor that works, with an init that has joined. */
function start(options?: { patience?: number; rollBackPatience?: number }) {
  const parts = open(options);
  parts.sync.sharing.onPeer(parts.peer);
  parts.sync.open();
  return parts;
}

t.test('while init writes, no worker starts; then each worker without a turn is new', async (t) => {
  const { say, calls, commits, replies, volume, addWorker, isQuiet, hasThawed, captured } = start();
  addWorker('one', 'starting');
  addWorker('two', 'idle');
  addWorker('three', 'busy');
  addWorker('four', 'idle', true);
  say({ kind: 'begin', commit: next });
  await isQuiet();
  t.same(calls.splice(0), ['freeze', 'hold', 'recycle one renewed now']);
  t.same(replies, [{ kind: 'quiet', commit: next }]);
  volume.commit = next;
  say({ kind: 'end', commit: next });
  await hasThawed();
  t.equal(calls[0], 'reload', 'the guard knows the new files before a worker starts');
  t.same(calls.slice(1, -1), [
    'recycle one renewed',
    'recycle two renewed',
    'recycle three renewed',
  ]);
  t.equal(calls.at(-1), 'thaw', 'the idle worker with background work keeps its process');
  t.match(await captured.logged('configuration_synced'), { commit: next, previous_commit: old });
  t.same(commits, [next]);
});

t.test('init waits for turns whose process may still read its configuration', async (t) => {
  const { say, replies, prompts, isQuiet } = start();
  prompts.sent = 1;
  say({ kind: 'begin', commit: next });
  await new Promise((resolve) => setImmediate(resolve));
  t.same(replies, []);
  Object.assign(prompts, { sent: 0, running: 1 });
  await isQuiet();
  t.same(replies, [{ kind: 'quiet', commit: next }]);
});

t.test('an init that does not finish its change delays prompts for a time only', async (t) => {
  const { say, calls, hasThawed, captured } = start({ patience: 30 });
  say({ kind: 'begin', commit: next });
  await hasThawed();
  await captured.logged('sync_unfinished');
  t.notOk(calls.includes('recycle'), 'the commit is the same');
});

t.test('the end of a change to the commit in use renews nothing', async (t) => {
  const { say, calls, addWorker, volume, hasThawed } = start();
  addWorker('one', 'idle');
  say({ kind: 'end', commit: old });
  volume.commit = next;
  say({ kind: 'end', commit: next });
  await hasThawed();
  t.same(calls, ['reload', 'recycle one renewed', 'thaw'], 'only the second one counts');
});

t.test('a configuration that cannot be read is reported, and prompts go on', async (t) => {
  const { say, volume, hasThawed, captured } = start();
  volume.isReadable = false;
  say({ kind: 'begin', commit: next });
  say({ kind: 'end', commit: next });
  await hasThawed();
  t.match(await captured.logged('failed'), { level: 'error' });
});

t.test('init gets a request to restore a file that the supervisor has no copy of', async (t) => {
  const { say, volume, replies, hasThawed } = start();
  Object.assign(volume, { isWhole: false, commit: next });
  say({ kind: 'end', commit: next });
  await hasThawed();
  t.same(replies, [{ kind: 'repair' }]);
});

t.test('no start judges a commit while a file differs from the record', async (t) => {
  const { sync, say, fail, volume, calls, replies, hasThawed } = start();
  Object.assign(volume, { isWhole: false, commit: next });
  say({ kind: 'end', commit: next });
  await hasThawed();
  t.same(replies.splice(0), [{ kind: 'repair' }]);
  calls.length = 0;
  fail(3, 'cannot start a worker: a file was changed and cannot be reverted');
  t.same([...calls, ...replies], [], 'prompts do not wait for init to go back');

  say({ kind: 'begin', commit: next });
  await until('the supervisor is quiet', () => replies.length > 0);
  replies.length = 0;
  volume.isWhole = true;
  say({ kind: 'end', commit: next });
  await hasThawed();
  sync.started('default', true);
  t.same(replies, [{ kind: 'verdict', commit: next, good: true }], 'after the repair it counts');

  say({ kind: 'begin', commit: next });
  say({ kind: 'end', commit: next });
  await until('the change is over', () => calls.filter((call) => call === 'thaw').length === 2);
  sync.started('default', true);
  t.same(replies.slice(1), [{ kind: 'quiet', commit: next }], 'a commit is judged once');
});

t.test('the first worker that is ready judges the commit, once', (t) => {
  const { sync, replies } = start();
  sync.started('default', true);
  sync.started('other', true);
  t.same(replies, [{ kind: 'verdict', commit: old, good: true }]);
  t.end();
});

t.test('three starts in a row that fail judge the new commit, without a secret', async (t) => {
  const { say, fail, volume, replies, hasThawed } = start();
  volume.commit = next;
  say({ kind: 'end', commit: next });
  await hasThawed();
  const message = `cannot start the CLI: hook failed with sk-ant-oat01-${'x'.repeat(40)}`;
  for (const attempts of [1, 2, 3, 4]) fail(attempts, message);
  t.match(replies, [
    { kind: 'verdict', commit: next, good: false, reason: 'cannot start the CLI' },
  ]);
  t.equal(replies.length, 1);
  t.notMatch(JSON.stringify(replies), 'sk-ant-oat01-xxx');
});

t.test('prompts wait for init to go back, and not for ever', async (t) => {
  const { say, fail, volume, calls, captured, hasThawed } = start({ rollBackPatience: 50 });
  volume.commit = next;
  say({ kind: 'end', commit: next });
  await hasThawed();
  calls.length = 0;
  fail(3, 'cannot start the CLI');
  t.same(calls, ['freeze']);
  await hasThawed();
  t.equal(captured.count('sync_unfinished'), 1);
});

t.test('a change after a bad judgement ends the wait', async (t) => {
  const { say, fail, volume, calls, captured, hasThawed, isQuiet } = start({
    rollBackPatience: 60_000,
  });
  volume.commit = next;
  say({ kind: 'end', commit: next });
  await hasThawed();
  calls.length = 0;
  fail(3, 'cannot start the CLI');
  say({ kind: 'begin', commit: old });
  await isQuiet();
  volume.commit = old;
  say({ kind: 'end', commit: old });
  await hasThawed();
  t.equal(captured.count('sync_unfinished'), 0);
});

t.test('the report of init is read again although the commit is the same', (t) => {
  const { say, reports, calls } = start();
  say({ kind: 'end', commit: old });
  return until('the report is read', () => reports.length === 1).then(() => {
    t.same(calls, [], 'workers go on');
  });
});

t.test('a profile that never worked gives no verdict on a commit', (t) => {
  const { fail, replies, noWorkerWasEverReady, sync } = start();
  noWorkerWasEverReady();
  fail(5, 'cannot start the CLI: no login');
  sync.started('unknown', false);
  t.same(replies, []);
  t.end();
});

t.test('a profile that failed before a change does not judge the new commit', async (t) => {
  const { sync, say, fail, volume, calls, replies, launchFailures } = start();
  sync.started('default', true);
  fail(5, 'cannot start the CLI: the server is gone', 'other');
  const change = async (commit: string) => {
    calls.length = 0;
    say({ kind: 'begin', commit });
    volume.commit = commit;
    say({ kind: 'end', commit });
    await until('the change is over', () => calls.includes('thaw'));
    replies.length = 0;
  };
  await change(next);
  fail(3, 'cannot start the CLI: the server is gone', 'other');
  t.same(replies, []);
  await change('c'.repeat(40));
  await change('d'.repeat(40));
  fail(3, 'cannot start the CLI: the server is gone', 'other');
  t.same(replies, [], 'also if no start has failed between two changes');
  launchFailures.delete('other');
  sync.started('other', true);
  t.match(replies, [{ commit: 'd'.repeat(40), good: true }], 'a success judges the commit');

  await change('e'.repeat(40));
  fail(3, 'cannot start the CLI', 'other');
  t.match(replies, [{ commit: 'e'.repeat(40), good: false }], 'after the success failures count');
});

t.test('no worker judges while the volume changes', async (t) => {
  const { sync, say, replies, isQuiet } = start();
  say({ kind: 'begin', commit: next });
  await isQuiet();
  sync.started('default', true);
  t.same(replies, [{ kind: 'quiet', commit: next }]);
});

t.test('an init that joins later learns of the verdict', (t) => {
  const { sync, replies, peer } = open();
  sync.open();
  sync.started('default', true);
  t.same(replies, []);
  sync.sharing.onPeer(peer);
  t.same(replies, [{ kind: 'verdict', commit: old, good: true }]);
  t.end();
});

t.test('init may join only while the supervisor works, and strange messages do nothing', (t) => {
  const { sync, say, peer, calls, replies } = open();
  t.notOk(sync.sharing.accepts());
  peer.close();
  sync.sharing.onPeer(peer);
  sync.open();
  t.ok(sync.sharing.accepts());
  sync.sharing.onPeer({ ...peer, closed: new AbortController().signal });
  for (const message of [null, 'begin', { kind: 'begin', commit: '../..' }, { kind: 'no' }]) {
    say(message);
  }
  t.same([...calls, ...replies], []);
  sync.stop();
  t.notOk(sync.sharing.accepts());
  t.end();
});
