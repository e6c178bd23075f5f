import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { OwnTurn } from '../../../supervisor/http/own-turn.ts';

t.test('each caller runs in its own turn of the event loop, in sequence', async (t) => {
  const own = new OwnTurn();
  let turns = 0;
  const worked: [name: string, turn: number][] = [];
  const callers = ['first', 'second', 'third'].map((name) =>
    own.wait().then(() => worked.push([name, turns])),
  );
  while (worked.length < 3) {
    await turn();
    turns += 1;
  }
  await Promise.all(callers);
  t.same(
    worked.map(([name]) => name),
    ['first', 'second', 'third'],
  );
  const [first = 0, second = 0, third = 0] = worked.map(([, at]) => at);
  t.ok(first < second && second < third, 'no two in one turn');
});

t.test('the turns begin again after a pause', async (t) => {
  const own = new OwnTurn();
  await own.wait();
  await turn();
  await turn();
  await own.wait();
  t.pass('a caller after the pause is let through');
});
