import t from 'tap';
import { SignsOfLife } from '../../../../supervisor/jobs/redis/signs-of-life.ts';

/** Two replicas at a Redis of which only the reply to the exchange matters here; its clock is `now`. */
function open() {
  const signs = new Map<string, number>();
  let now = 0;
  let isAway = false;
  const connection = {
    script: async (_what: string, _lua: string, words: readonly (string | number)[]) => {
      if (isAway) throw new Error('Redis is away');
      signs.set(String(words[1]), now);
      return [...signs].flatMap(([name, at]) => [name, String(at)]);
    },
  };
  const options = { connection: connection as never, key: 'signs', lost: 30_000 };
  const life = new SignsOfLife({ ...options, elapsed: () => now });
  return {
    life,
    /** Time in which this replica reports its own sign every 5 s. */
    async pass(seconds: number, other?: string): Promise<void> {
      for (let rest = seconds; rest > 0; rest -= 5) {
        now += 5_000;
        if (other !== undefined) signs.set(other, now);
        await life.exchange('me');
      }
    },
    stand: (seconds: number) => {
      now += seconds * 1_000;
    },
    away: (is: boolean) => {
      isAway = is;
    },
  };
}

t.test('a name whose sign stays the same for the whole time is gone', async (t) => {
  const { life, pass } = open();
  await pass(5, 'other');
  await pass(25);
  t.notOk(life.isGone('other'));
  await pass(5);
  t.ok(life.isGone('other'));
});

t.test('a name that reports its sign is not gone, however late its first sign was', async (t) => {
  const { life, pass } = open();
  await pass(60, 'other');
  t.notOk(life.isGone('other'));
  t.notOk(life.isGone('me'));
});

t.test('a name that was never seen has the whole time too', async (t) => {
  const { life, pass } = open();
  await pass(60);
  t.notOk(life.isGone('stranger'), 'its time begins now');
  await pass(25);
  t.notOk(life.isGone('stranger'));
  await pass(5);
  t.ok(life.isGone('stranger'));
});

t.test('while this process stood still, nobody is gone, and the time begins again', async (t) => {
  const { life, pass, stand } = open();
  await pass(5, 'other');
  stand(120);
  t.notOk(life.isGone('other'), 'the last reading is too old');
  await pass(5);
  t.notOk(life.isGone('other'));
  await pass(30);
  t.ok(life.isGone('other'));
});

t.test('while Redis was away, nobody is gone, and the time begins again', async (t) => {
  const { life, pass, stand, away } = open();
  await pass(5, 'other');
  await pass(25);
  away(true);
  stand(5);
  await t.rejects(life.exchange('me'), { message: 'Redis is away' });
  away(false);
  await pass(5);
  t.notOk(life.isGone('other'));
  await pass(30);
  t.ok(life.isGone('other'));
});
