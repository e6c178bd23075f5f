import t from 'tap';
import { Attribution } from '../../../supervisor/claude/attribution.ts';

const result = (...promptIds: string[]) => ({ promptIds, otherOrigin: false });

t.test('a result is of the prompt that it names, once that has begun', (t) => {
  const whose = new Attribution();
  t.equal(whose.ownerOf(result()), 'nobody', 'no prompt was handed over');
  whose.expect('one');
  t.equal(whose.ownerOf(result()), 'nobody', 'the prompt waits behind another turn');
  t.equal(whose.begun, false);
  whose.started('one');
  t.equal(whose.begun, true);
  t.equal(whose.ownerOf(result('one')), 'prompt');
  t.equal(whose.begun, false);
  t.equal(whose.ownerOf(result()), 'nobody', 'the prompt has its result');
  t.end();
});

t.test('a wake-up between two prompts takes the result of neither', (t) => {
  const whose = new Attribution();
  whose.started('wake-up');
  whose.expect('one');
  t.equal(whose.ownerOf(result()), 'nobody');
  whose.ended('wake-up');
  whose.started('one');
  t.equal(whose.ownerOf(result('one')), 'prompt');
  t.end();
});

t.test('a result that may answer something else too is of no known owner', (t) => {
  const begun = (): Attribution => {
    const whose = new Attribution();
    whose.expect('one');
    whose.started('one');
    return whose;
  };
  t.equal(begun().ownerOf(result()), 'unknown', 'it does not name the prompt');
  t.equal(begun().ownerOf(result('another')), 'unknown');
  t.equal(begun().ownerOf(result('one', 'another')), 'unknown');
  t.equal(begun().ownerOf({ promptIds: ['one'], otherOrigin: true }), 'unknown');
  const mixed = begun();
  mixed.started('wake-up');
  t.equal(mixed.ownerOf(result('one')), 'unknown', 'a wake-up was merged into the turn');
  const early = new Attribution();
  early.expect('one');
  t.equal(early.ownerOf(result('one')), 'unknown', 'it never began');
  t.end();
});

t.test('a prompt that is over before it began was dropped', (t) => {
  const whose = new Attribution();
  whose.expect('one');
  t.equal(whose.ended('another'), false);
  t.equal(whose.ended('one'), true);
  whose.started('one');
  t.equal(whose.ended('one'), false, 'its result comes, or came');
  t.end();
});
