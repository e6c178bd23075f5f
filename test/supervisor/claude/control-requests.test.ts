import t from 'tap';
import { ControlRequests } from '../../../supervisor/claude/control-requests.ts';
import { endedError } from '../../../supervisor/claude/process-errors.ts';

t.test('a control request has the response to its own id', async (t) => {
  const controls = new ControlRequests();
  const [one, two] = [controls.begin(), controls.begin()];
  t.not(one.id, two.id);
  controls.settle(two.id, undefined, 'second');
  controls.settle('unknown', undefined, 'third');
  t.equal(await two.response, 'second');
  controls.settle(one.id, 'no such subtype', undefined);
  await t.rejects(one.response, { code: 'cli_unavailable', message: /answered "no such subtype"/ });
});

t.test('all control requests fail when the process ends', async (t) => {
  const controls = new ControlRequests();
  const { response } = controls.begin();
  const end = { exitCode: 3, signal: null, stderr: 'out of cheese' };
  controls.failAll(endedError({ end, refused: undefined, givenUp: false }));
  await t.rejects(response, {
    code: 'cli_unavailable',
    message: /ended with exit code 3 \(out of cheese\); try again/,
    details: { exit_code: 3, signal: null },
  });
});
