/** Copies of sessions in a store that fails, and what comes back from it. The store itself: jobs/redis/mirrored-sessions.test.ts. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import {
  type MirrorStore,
  SessionMirror,
  type SessionMirrorOptions,
} from '../../../supervisor/sessions/mirror.ts';
import { Transcripts } from '../../../supervisor/sessions/transcripts.ts';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { idOf, sessionRecord, storeIn } from '../../support/session-record.ts';
import { until } from '../../support/until.ts';

const away = () => new BerthError('job_store_unavailable', 'Redis is away');

/** A mirror whose store does this, and else knows no copy. */
function mirrorOn(
  t: Test,
  kept: Partial<MirrorStore>,
  options: Partial<SessionMirrorOptions> = {},
) {
  const root = testDirectory(t, { config: { projects: { '-a': {} } }, workspace: {}, state: {} });
  const configDirectory = join(root, 'config');
  const captured = captureLog();
  const sessions = storeIn(t, join(root, 'state'));
  const mirror = new SessionMirror({
    kept: {
      add: async () => 'kept',
      size: async () => undefined,
      take: async () => 'none',
      remove: async () => {},
      ...kept,
    },
    ...{ sessions, configDirectory, longest: 1_000, log: captured.log, lag: 1 },
    transcripts: new Transcripts({ configDirectory, temporaryDirectory: root }),
    workspaces: new Workspaces(join(root, 'workspace')),
    ...options,
  });
  t.teardown(() => mirror.stop());
  /** A session with a transcript of one line. */
  const begin = async (id: string): Promise<string> => {
    await sessions.write(sessionRecord({ id }));
    mkdirSync(join(configDirectory, 'projects', '-a'), { recursive: true });
    writeFileSync(join(configDirectory, 'projects', '-a', `${id}.jsonl`), '{}\n');
    return id;
  };
  return { mirror, sessions, begin, log: captured };
}

t.test('a copy that failed is tried again without another turn', async (t) => {
  const copied = new Set<string>();
  let failures = 4;
  const { mirror, begin, log } = mirrorOn(
    t,
    {
      add: async ({ id }) => {
        if (failures-- > 0) throw away();
        copied.add(id);
        return 'kept';
      },
    },
    { retry: 5 },
  );
  const ids = [await begin(idOf(1)), await begin(idOf(2))];
  for (const id of ids) mirror.note(id);
  await until('both are copied', () => copied.size === 2);
  t.equal(log.count('session_unmirrored'), 1, 'the outage is logged once');
});

t.test('a session that cannot be copied holds up no other one, and is logged once', async (t) => {
  const tried: string[] = [];
  let isAway = true;
  const broken = idOf(1);
  const { mirror, begin, log } = mirrorOn(
    t,
    {
      add: async ({ id }) => {
        tried.push(id);
        if (isAway || id === broken) throw away();
        return 'kept';
      },
    },
    { retry: 5 },
  );
  const other = await begin(idOf(2));
  mirror.note(await begin(broken));
  mirror.note(other);
  await until('both have failed', () => tried.length >= 4);
  isAway = false;
  tried.length = 0;
  await until('the other one is copied', () => tried.includes(other));
  await until(
    'the broken one is tried again',
    () => tried.filter((id) => id === broken).length > 2,
  );
  t.equal(log.count('session_unmirrored'), 1);
});

t.test('the end of berth waits for no retry', async (t) => {
  const add = () => Promise.reject(away());
  const { mirror, begin, log } = mirrorOn(t, { add }, { retry: 2 ** 30 });
  mirror.note(await begin(idOf(1)));
  await log.logged('session_unmirrored');
  await mirror.stop();
});

t.test(
  'a session that was removed here comes back from the replica that continued it',
  async (t) => {
    const record = sessionRecord({ id: idOf(1), turns: 7 });
    let isOwn = false;
    const take = async () => ({ record: JSON.stringify(record), transcript: '{}\n', isOwn });
    const forgotten: string[] = [];
    const remove = async (id: string) => void forgotten.push(id);
    const { mirror, sessions } = mirrorOn(t, { take, remove });
    await sessions.write({ ...record, turns: 1 });
    await sessions.remove(record.id);
    t.equal(await mirror.adopt(record.id), 'adopted');
    t.match(await sessions.read(record.id), { turns: 7 });
    await sessions.remove(record.id);
    isOwn = true;
    t.equal(await mirror.adopt(record.id), 'none', 'a copy that its removal has left');
    await until('that copy is removed', () => forgotten.includes(record.id));
    t.equal(await sessions.read(record.id), undefined);
  },
);

t.test('nothing is taken over while the session is being removed here', async (t) => {
  const record = sessionRecord({ id: idOf(1) });
  let taken = 0;
  const take = async () => {
    taken += 1;
    return { record: JSON.stringify(record), transcript: '{}\n', isOwn: false };
  };
  const { mirror, sessions } = mirrorOn(t, { take });
  await sessions.write(record);
  sessions.hide(record.id);
  t.equal(await mirror.adopt(record.id), 'later');
  sessions.readmit(record.id);
  t.equal(await sessions.read(record.id), undefined);
  t.equal(taken, 0, 'the session stays with the other replica');
  await sessions.remove(record.id);
  t.equal(await mirror.adopt(record.id), 'adopted');
});
