import t, { type Test } from 'tap';
import type { BerthError } from '../../../shared/errors.ts';
import { HelperWatch, helperBound } from '../../../supervisor/health/helper-watch.ts';
import { until } from '../../support/until.ts';

const helper = '/opt/key.sh --of me';
const running = [['/bin/sh', '-c', helper]];

/** A watch of a process whose commands `commandsOf` returns, and what the watch has reported. */
function watch(t: Test, commandsOf: (look: number) => string[][], lastOutput = () => -Infinity) {
  const hangs: BerthError[] = [];
  let looks = 0;
  const process = {
    pid: 1,
    get lastOutput() {
      return lastOutput();
    },
    control: async () => ({ effective: { apiKeyHelper: helper } }),
  };
  const watch = new HelperWatch({
    process: process as never,
    bound: 20,
    commandsOf: async () => commandsOf(++looks),
    onHang: (error) => hangs.push(error),
  });
  t.teardown(() => watch.stop());
  watch.begin();
  return { watch, hangs, looked: (more: number) => until('it looks', () => looks >= more) };
}

t.test('a helper that is seen for the whole bound hangs, and is reported once', async (t) => {
  const { hangs } = watch(t, () => running);
  await until('the hang is reported', () => hangs.length > 0);
  // Another watch reports its hang meanwhile: the first one would have looked again.
  const later = watch(t, () => running);
  await until('the later hang is reported', () => later.hangs.length > 0);
  t.equal(hangs.length, 1);
  t.match(hangs[0], { code: 'login_unavailable', message: /\/opt\/key\.sh --of me/ });
});

t.test('a helper that ends between two looks does not hang', async (t) => {
  const { hangs, looked } = watch(t, (look) => (look % 4 === 0 ? [] : running));
  await looked(20);
  t.same(hangs, []);
});

t.test('a process that writes meanwhile does not hang', async (t) => {
  const { hangs, looked } = watch(
    t,
    () => running,
    () => performance.now(),
  );
  await looked(12);
  t.same(hangs, []);
});

t.test('a watch that was stopped reports nothing any more', async (t) => {
  const answer = Promise.withResolvers<string[][]>();
  const hangs: BerthError[] = [];
  let looks = 0;
  const watch = new HelperWatch({
    process: {
      pid: 1,
      lastOutput: -Infinity,
      control: async () => ({ effective: { apiKeyHelper: helper } }),
    } as never,
    bound: 20,
    commandsOf: () => {
      looks += 1;
      return looks <= 4 ? Promise.resolve(running) : answer.promise;
    },
    onHang: (error) => hangs.push(error),
  });
  watch.begin();
  await until('a look waits for its answer', () => looks > 4);
  watch.stop();
  answer.resolve(running);
  await new Promise(setImmediate);
  t.same(hangs, []);
});

t.test('the bound for a helper is half of that for hangs, and a minute at most', async (t) => {
  t.equal(helperBound(30_000), 15_000);
  t.equal(helperBound(600_000), 60_000);
});
