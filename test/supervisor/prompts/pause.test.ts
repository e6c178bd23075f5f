import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Pause } from '../../../supervisor/prompts/pause.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

async function open(directory: string) {
  const log = captureLog();
  const pause = new Pause(directory, log.log);
  await pause.load();
  return { pause, log };
}

t.test('a pause and its end survive restarts, with the token name and the reason', async (t) => {
  const directory = testDirectory(t, {});
  const { pause } = await open(directory);
  t.equal(pause.refusal, undefined);
  t.equal(await pause.pause('n8n', 'the bill'), true);
  const { pause: again, log } = await open(directory);
  t.match(again.state, { by: 'n8n', reason: 'the bill', since: pause.state?.since });
  t.match(again.refusal, {
    code: 'paused',
    status: 503,
    retryable: true,
    message: /n8n paused the server at 2.*Z \(the bill\); try again after `POST \/v1\/resume`/,
    details: { retry_after: 60 },
  });
  t.match(log.lines, [{ level: 'warn', event: 'paused', by: 'n8n' }]);
  t.equal(await again.resume(), true);
  t.equal((await open(directory)).pause.state, undefined);
});

t.test('the first pause keeps its token name and its reason', async (t) => {
  const { pause } = await open(testDirectory(t, {}));
  await pause.pause('n8n', null);
  await pause.pause('home', 'me too');
  t.match(pause.state, { by: 'n8n', reason: null });
});

t.test(
  'it takes effect before it is durable, and calls that cross end as the last one',
  async (t) => {
    const directory = testDirectory(t, {});
    const { pause } = await open(directory);
    const first = pause.pause('n8n', null);
    t.ok(pause.refusal, 'at once');
    const second = pause.resume();
    t.equal(pause.refusal, undefined);
    t.same(await Promise.all([first, second]), [true, true]);
    t.notOk(existsSync(join(directory, 'pause.json')));
  },
);

for (const content of ['', '{"version":1,"by":', '{"version":9}', 'x'.repeat(70_000)]) {
  t.test(`a file that cannot be read means paused: ${content.slice(0, 12)}`, async (t) => {
    const directory = testDirectory(t, { 'pause.json': content });
    const { pause, log } = await open(directory);
    t.match(pause.refusal, { code: 'paused', message: /an unknown caller paused the server/ });
    t.equal(log.count('pause_unreadable'), 1);
    t.equal(readFileSync(join(directory, 'pause.json'), 'utf8'), content);
    t.equal(await pause.resume(), true);
    t.notOk(existsSync(join(directory, 'pause.json')));
  });
}

t.test('a pause that cannot be written still takes effect, and an error is logged', async (t) => {
  const directory = testDirectory(t, {});
  mkdirSync(join(directory, 'pause.json'));
  writeFileSync(join(directory, 'pause.json', 'x'), '');
  const log = captureLog();
  const pause = new Pause(directory, log.log);
  t.equal(await pause.pause('n8n', null), false);
  t.ok(pause.refusal);
  t.match(log.lines, [{ level: 'error', msg: /would not survive a restart/ }]);
  t.equal(await pause.resume(), true);
});
