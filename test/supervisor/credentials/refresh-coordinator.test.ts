import t from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import { BerthError } from '../../../shared/errors.ts';
import type { CredentialsState } from '../../../supervisor/credentials/login-file.ts';
import {
  RefreshCoordinator,
  type RefreshCoordinatorOptions,
} from '../../../supervisor/credentials/refresh-coordinator.ts';
import { captureLog } from '../../support/captured-log.ts';
import { credentials } from './login-files.ts';

const minute = 60_000;
const never = new AbortController().signal;
const refused = new BerthError('login_required', 'cannot answer the prompt: 401; log in');

/** A login file as the watch sees it, and what is made of it. */
function scene(minutes: number, options: Partial<RefreshCoordinatorOptions> = {}) {
  let serial = 0;
  const state = (left: number): CredentialsState =>
    judgeCredentials(credentials(String(++serial), { expiresAt: Date.now() + left * minute }));
  const watch = { state: state(minutes), check: async () => {} };
  const failures: string[] = [];
  const { log, lines } = captureLog();
  const turns = new RefreshCoordinator({
    watch,
    elsewhere: async () => false,
    refusal: () => undefined,
    log,
    onFailure: (reason) => failures.push(reason),
    // A turn that goes first and never ends keeps the test alive for so long.
    bound: 2_000,
    patience: 20,
    ...options,
  });
  const become = (next: CredentialsState): void => {
    watch.state = next;
    turns.changed();
  };
  const refresh = (): void => become(state(60));
  /** Whether a turn may begin by now. */
  const begin = (signal = never) => {
    const held = { begun: false, use: turns.begin(signal) };
    void held.use.then(() => (held.begun = true)).catch(() => undefined);
    return held;
  };
  return { turns, watch, failures, lines, become, refresh, begin };
}

/** Lets all go on that nothing holds. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

t.test('while no refresh is due, no prompt waits', async (t) => {
  const { begin } = scene(60);
  const both = [begin(), begin()];
  await settle();
  t.strictSame(
    both.map(({ begun }) => begun),
    [true, true],
  );
});

t.test('when one is due a single turn goes first; its refresh lets all others go', async (t) => {
  const { begin, refresh, turns, failures } = scene(4);
  const [first, second, third] = [begin(), begin(), begin()];
  await settle();
  t.match([first, second, third], [{ begun: true }, { begun: false }, { begun: false }]);
  t.ok(turns.pending);
  refresh();
  await settle();
  t.match([second, third], [{ begun: true }, { begun: true }]);
  await (await first.use).over();
  t.same(failures, []);
});

t.test('an answer without a refresh lets the others go too, and counts once', async (t) => {
  const { begin, turns, failures, lines } = scene(4);
  const [first, second] = [begin(), begin()];
  await settle();
  const use = await first.use;
  use.answered();
  use.answered();
  await settle();
  t.match(second, { begun: true });
  await use.over();
  await (await second.use).over();
  t.same(failures, ['postponed']);
  t.match(lines, [{ event: 'credentials_refresh_failed', reason: 'postponed', level: 'warn' }]);
  t.notOk(turns.pending, 'nobody is held for a while');
});

t.test('no prompt waits longer than the limit', async () => {
  const { begin } = scene(4, { bound: 10 });
  const [, second] = [begin(), begin()];
  await second.use;
});

t.test('if the first is interrupted before anything is known, the next goes first', async (t) => {
  const { begin } = scene(4);
  const [first, second, third] = [begin(), begin(), begin()];
  await settle();
  await (await first.use).over();
  await settle();
  t.match([second, third], [{ begun: true }, { begun: false }]);
});

t.test('a turn that waits for a refresh can be aborted', async (t) => {
  const { begin } = scene(4);
  begin();
  const leaving = new AbortController();
  const second = begin(leaving.signal);
  await settle();
  leaving.abort(refused);
  await t.rejects(second.use, refused);
});

t.test(
  'with a login in settings.json, no prompt waits and no missed refresh is reported',
  async (t) => {
    const { begin, failures } = scene(-4, { elsewhere: async () => true });
    const both = [begin(), begin()];
    for (const { use } of both) {
      (await use).answered();
      await (await use).over();
    }
    t.same(failures, []);
  },
);

t.test('a refused turn is worth another try as soon as there is another login', async (t) => {
  const { begin, refresh, become, failures } = scene(60, { patience: 60_000 });
  const use = await begin().use;
  const waiting = use.refused(never);
  become({ kind: 'torn', reason: 'half of it' });
  refresh();
  t.equal(await waiting, true);
  await use.over();
  t.same(failures, []);
});

t.test('without another in time it is kept, and that can be tried again later', async (t) => {
  const { begin, failures } = scene(-4);
  const use = await begin().use;
  t.equal(await use.refused(never), false);
  t.match(use.explain(refused), { code: 'login_unavailable', retryable: true });
  await use.over();
  t.same(failures, ['failed']);
});

t.test('a turn whose login is lost fails at once with login_required', async (t) => {
  const lost = new BerthError('login_required', 'cannot answer the prompt: it is lost; log in');
  const { begin, become, failures } = scene(60, { refusal: () => lost, patience: 60_000 });
  const use = await begin().use;
  become({ kind: 'blank' });
  t.equal(await use.refused(never), false);
  t.equal(use.explain(refused).message, lost.message);
  await use.over();
  t.same(failures, [], 'the refusal itself was counted');
});
