import t from 'tap';
import { boundedLog } from '../../shared/bounded-log.ts';
import { captureLog } from '../init/fixture.ts';
import { until } from '../support/until.ts';

t.test('lines of one reason are bounded, and their number is logged at the end', async (t) => {
  const { lines, log } = captureLog();
  const bounded = boundedLog(log, { most: 3, minute: 500 });
  for (let count = 0; count < 10; count++) {
    const what = `cannot read me/app${count}`;
    bounded.child({ agent: 'x' }).warn('gateway_refused', `${what}: it is not listed; add it`);
  }
  bounded.warn('gateway_refused', 'cannot push to me/app: the push would remove commits; merge');
  bounded.info('gateway_pushed', 'me/app was pushed to');
  t.equal(lines.filter(({ agent }) => agent === 'x').length, 3);
  t.equal(lines.length, 5, 'another reason and another level pass');
  await until('the number is logged', () => lines.length > 5);
  t.match(lines[5], { event: 'gateway_refused', msg: /left out.*not listed/, count: 7 });
  bounded.warn('gateway_refused', 'cannot read me/app: it is not listed; add it');
  t.equal(lines.length, 7, 'the next minute begins anew');
});

t.test('the number of lines is bounded also if each reason is another one', async (t) => {
  const { lines, log } = captureLog();
  const bounded = boundedLog(log, { most: 3 });
  for (let count = 0; count < 1_000; count++) {
    bounded.warn('gateway_refused', `cannot open a pull request: key ${count}; correct it`);
  }
  t.ok(lines.length < 60, `${lines.length} lines`);
});
