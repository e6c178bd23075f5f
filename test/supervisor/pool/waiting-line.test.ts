import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { ProcessSpec } from '../../../supervisor/pool/process-spec.ts';
import { type Lane, type Ticket, WaitingLine } from '../../../supervisor/pool/waiting-line.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';

const worker = {} as Worker;

function makeLine(limit = 100) {
  const line = new WaitingLine(limit);
  const names = new Map<Ticket, string>();
  const places = new Map<string, number[]>();
  return {
    line,
    places,
    join(
      name: string,
      token: string,
      sessionId?: string,
      continues = false,
      lane: Lane = 'interactive',
    ) {
      places.set(name, []);
      const ticket = line.join({
        spec: { sessionId } as ProcessSpec,
        token,
        continues,
        lane,
        signal: new AbortController().signal,
        onPlace: (place) => places.get(name)?.push(place),
      });
      ticket.worker.catch(() => {});
      names.set(ticket, name);
      return ticket;
    },
    order: () => line.waiting.map((ticket) => names.get(ticket)).join(' '),
    serveNext() {
      const [ticket] = line.waiting;
      if (ticket) line.serve(ticket, worker);
      return ticket && names.get(ticket);
    },
  };
}

t.test('tokens take turns, first come, first served within each', async (t) => {
  const { join, order } = makeLine();
  for (const name of ['a1', 'a2', 'a3', 'a4']) join(name, 'a');
  for (const name of ['b1', 'b2']) join(name, 'b');
  join('c1', 'c');
  t.equal(order(), 'a1 b1 c1 a2 b2 a3 a4');
});

t.test('a token that was served comes after a token that was not served yet', async (t) => {
  const { join, serveNext } = makeLine();
  join('a1', 'a');
  join('a2', 'a');
  join('b1', 'b');
  t.equal(serveNext(), 'a1');
  join('a3', 'a');
  t.equal(serveNext(), 'b1');
  join('b2', 'b');
  t.equal(serveNext(), 'a2');
  t.equal(serveNext(), 'b2');
});

t.test(
  'within a token it is first come, first served, whichever session the prompts are for',
  async (t) => {
    const { join, order } = makeLine();
    for (const name of ['x1', 'x2', 'x3']) join(name, 'a', 'x');
    join('y1', 'a', 'y');
    join('b1', 'b', 'z');
    join('new1', 'a');
    t.equal(order(), 'x1 b1 x2 x3 y1 new1');
  },
);

t.test(
  'a ticket whose listener throws is rejected, and the other tickets get their places',
  async (t) => {
    const { join, line, order, places } = makeLine();
    const ticket = line.join({
      ...{ spec: {} as ProcessSpec, token: 'a', signal: new AbortController().signal },
      onPlace: () => {
        throw new RangeError('too deep');
      },
    });
    join('b1', 'b');
    line.reportPlaces();
    await t.rejects(ticket.worker, { message: 'too deep' });
    t.equal(order(), 'b1', 'no worker can be given to the rejected ticket');
    line.reportPlaces();
    t.same(Object.fromEntries(places), { b1: [2, 1] });
  },
);

t.test('a ticket is notified of its place once for each change', async (t) => {
  const { join, line, places, serveNext } = makeLine();
  join('a1', 'a');
  join('a2', 'a');
  line.reportPlaces();
  line.reportPlaces();
  join('b1', 'b');
  line.reportPlaces();
  serveNext();
  line.reportPlaces();
  t.same(Object.fromEntries(places), { a1: [1], a2: [2, 3, 2], b1: [2, 1] });
});

t.test('a full queue rejects the newest ticket of the token with the most', async (t) => {
  const { join, line, order } = makeLine(3);
  join('a1', 'a');
  join('a2', 'a');
  const flooding = join('a3', 'a');
  join('b1', 'b');
  line.enforceLimit(0, 7);
  await t.rejects(flooding.worker, { code: 'queue_full', details: { retry_after: 7 } });
  t.equal(order(), 'a1 b1 a2');
  const equal = join('b2', 'b');
  line.enforceLimit(0, 7);
  await t.rejects(
    equal.worker,
    { code: 'queue_full' },
    'among equal tokens it is the newest ticket',
  );
});

t.test(
  'a ticket that continues a turn is served first, and never rejected for space',
  async (t) => {
    const { line, join, order } = makeLine(2);
    for (const name of ['a1', 'a2']) join(name, 'a');
    const lost = join('lost', 'a', 'session', true);
    t.equal(order(), 'lost a1 a2');
    line.enforceLimit(0, 1);
    t.equal(order(), 'lost a1');
    line.enforceLimit(0, 1);
    const removed = new BerthError('interrupted', 'cannot go on: it was removed');
    line.rejectWhere(({ sessionId }) => sessionId === 'session', removed);
    await t.rejects(lost.worker, { code: 'interrupted' });
    t.equal(order(), 'a1');
  },
);

t.test('jobs wait behind interactive prompts, and background jobs behind all others', async (t) => {
  const { join, order } = makeLine();
  join('background', 'a', undefined, false, 'background');
  join('job a1', 'a', undefined, false, 'job');
  join('job a2', 'a', undefined, false, 'job');
  join('job b1', 'b', undefined, false, 'job');
  join('prompt', 'a');
  join('continued', 'b', undefined, true, 'background');
  t.equal(order(), 'continued prompt job a1 job b1 job a2 background');
});

t.test('jobs do not count for the limit of the queue, and are not rejected for it', async (t) => {
  const { join, line, order } = makeLine(1);
  for (const name of ['j1', 'j2', 'j3']) join(name, 'a', undefined, false, 'job');
  line.enforceLimit(0, 1);
  join('p1', 'a');
  line.enforceLimit(0, 1);
  t.equal(order(), 'p1 j1 j2 j3');
  const refused = join('p2', 'a');
  line.enforceLimit(0, 1);
  await t.rejects(refused.worker, { code: 'queue_full' });
  t.equal(order(), 'p1 j1 j2 j3');
});
