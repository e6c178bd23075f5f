import t from 'tap';
import { BerthError } from '../../shared/errors.ts';
import { createSlots } from '../../shared/slots.ts';

const busy = (): BerthError => new BerthError('queue_full', 'cannot begin: all slots are taken');
const never = new AbortController().signal;
const long = 60_000;

t.test('work beyond the slots waits in the sequence of its arrival', async (t) => {
  const slots = createSlots(1, 2, long, busy);
  const give = await slots.take(never);
  const got: string[] = [];
  const first = slots.take(never).then((release) => {
    got.push('first');
    return release;
  });
  const second = slots.take(never).then((release) => {
    got.push('second');
    return release;
  });
  t.same(got, []);
  give();
  (await first)();
  (await second)();
  t.same(got, ['first', 'second']);
  t.equal(slots.taken, 0);
});

t.test('a slot that is given back twice is free once', async (t) => {
  const slots = createSlots(2, 0, long, busy);
  const one = await slots.take(never);
  await slots.take(never);
  one();
  one();
  t.equal(slots.taken, 1);
  await slots.take(never);
  await t.rejects(slots.take(never), { code: 'queue_full' });
});

t.test('work that finds no place to wait, or waits too long, is refused', async (t) => {
  const slots = createSlots(1, 1, 5, busy);
  const give = await slots.take(never);
  const waits = slots.take(never);
  await t.rejects(slots.take(never), { code: 'queue_full' }, 'there is no place to wait');
  await t.rejects(waits, { code: 'queue_full' }, 'the wait was too long');
  give();
  t.equal(slots.taken, 0);
});

t.test('work that is aborted leaves its place, and the slot goes to the next', async (t) => {
  const slots = createSlots(1, 2, long, busy);
  const give = await slots.take(never);
  const stop = new AbortController();
  const leaves = slots.take(stop.signal);
  const stays = slots.take(never);
  stop.abort(new Error('gone'));
  await t.rejects(leaves, { message: 'gone' });
  give();
  (await stays)();
  t.equal(slots.taken, 0);
  await t.rejects(slots.take(stop.signal), { message: 'gone' });
});

t.test('a slot that comes in the moment of the abort is given back', async (t) => {
  const slots = createSlots(1, 1, long, busy);
  const give = await slots.take(never);
  const stop = new AbortController();
  const waits = slots.take(stop.signal);
  stop.abort(new Error('gone'));
  give();
  await t.rejects(waits, { message: 'gone' });
  t.equal(slots.taken, 0);
});
