/** Sessions are copied to Redis and go on at another replica, on a real server. */
import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { projectDirectory } from '../../../../supervisor/claude/project-directory.ts';
import { Keys } from '../../../../supervisor/jobs/redis/keys.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { SessionMirror } from '../../../../supervisor/sessions/mirror.ts';
import { SessionStore } from '../../../../supervisor/sessions/session-store.ts';
import { Transcripts } from '../../../../supervisor/sessions/transcripts.ts';
import { Workspaces } from '../../../../supervisor/sessions/workspaces.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotRunRedis, patience, redisServer } from '../../../support/redis-server.ts';
import { sessionRecord } from '../../../support/session-record.ts';
import { until } from '../../../support/until.ts';

const skip = cannotRunRedis();
const server = skip ? { url: '', port: 0 } : await redisServer(t);
const redis = new Redis(server.url, { lazyConnect: true });
t.teardown(() => redis.disconnect());

/** Replicas of one test, each with a volume of its own. */
function replicas(t: Test, { most = 1_000, longest = 500 } = {}) {
  const root = testDirectory(t);
  const name = randomUUID();
  let elapsed = 0;
  const start = async (replica: string) => {
    const directory = (kind: string): string => join(root, replica, kind);
    for (const kind of ['config/projects/-a', 'workspace'])
      mkdirSync(directory(kind), { recursive: true });
    const captured = captureLog();
    const { log } = captured;
    const store = new RedisJobStore({
      ...{ url: server.url, log, name, replica, replicaLost: 60_000, deadline: patience },
      elapsed: () => elapsed,
      mirror: { most, expiry: 60_000 },
    });
    await store.open();
    t.teardown(() => store.close());
    const configDirectory = directory('config');
    const sessions = new SessionStore({
      ...{ stateDirectory: directory('state'), sharedDirectory: directory('workspace'), log },
    });
    t.teardown(() => sessions.stop());
    const mirror = new SessionMirror({
      ...{ kept: store.mirrored, sessions, configDirectory, longest, log, lag: 1 },
      transcripts: new Transcripts({ configDirectory, temporaryDirectory: root }),
      workspaces: new Workspaces(directory('workspace')),
    });
    t.teardown(() => mirror.stop());
    const file = (id: string): string => join(configDirectory, 'projects', '-a', `${id}.jsonl`);
    /** A session with this transcript, copied. */
    const begin = async (text: string): Promise<string> => {
      const id = randomUUID();
      await sessions.write(
        sessionRecord({ id, working_directory: { path: '/elsewhere', mode: 'shared' } }),
      );
      writeFileSync(file(id), text);
      mirror.note(id);
      return id;
    };
    const workspace = directory('workspace');
    return { store, sessions, mirror, begin, file, configDirectory, workspace, log: captured };
  };
  const keys = new Keys(name);
  const copied = (id: string, text: string) =>
    until('the transcript is copied', async () => (await redis.get(keys.transcript(id))) === text);
  /** Lets this replica read no new sign of life of the others for the whole time. */
  const lose = async (others: RedisJobStore): Promise<void> => {
    for (let passed = 0; passed <= 60_000; passed += 5_000) {
      elapsed += 5_000;
      await others.beat();
    }
  };
  return { start, keys, copied, lose };
}

t.test(
  'a session of a lost replica goes on at another one, and at that one alone',
  { skip },
  async (t) => {
    const { start, keys, copied, lose } = replicas(t);
    const [a, b] = [await start('a'), await start('b')];
    const id = await a.begin('{"one":1}\n{"tw');
    await copied(id, '{"one":1}\n');
    appendFileSync(a.file(id), 'o":"ü"}\n');
    a.mirror.note(id);
    await copied(id, '{"one":1}\n{"two":"ü"}\n');
    t.equal(await b.mirror.adopt(id), 'later', 'its replica lives');
    await redis.hset(keys.homes, id, 'a');
    // The replica that is lost still reports that it lives, now and then.
    await until('b has the session', async () => {
      await lose(b.store);
      const adopted = await Promise.all([b.mirror.adopt(id), b.mirror.adopt(id)]);
      return adopted.every((one) => one === 'adopted');
    });
    t.match(await b.sessions.read(id), { id, token: 'n8n', working_directory: { mode: 'shared' } });
    const [project = ''] = readdirSync(join(b.configDirectory, 'projects')).filter(
      (each) => each !== '-a',
    );
    t.equal(project, projectDirectory(b.workspace), 'where the CLI looks for it');
    const path = join(b.configDirectory, 'projects', project, `${id}.jsonl`);
    t.equal(readFileSync(path, 'utf8'), '{"one":1}\n{"two":"ü"}\n');
    t.equal(await redis.hget(keys.homes, id), 'b');
    appendFileSync(a.file(id), '{"late":1}\n');
    a.mirror.note(id);
    await a.log.logged('session_unmirrored', ({ msg }) => /another replica/.test(msg));
    appendFileSync(path, '{"three":3}\n');
    b.mirror.note(id);
    await copied(id, '{"one":1}\n{"two":"ü"}\n{"three":3}\n');
    a.mirror.forget(id);
    await a.mirror.stop();
    t.equal(await redis.exists(keys.transcript(id)), 1, 'the copy is that of b now');
    b.mirror.forget(id);
    await b.mirror.stop();
    t.equal(
      await redis.exists(keys.transcript(id), keys.mirrored(id)),
      0,
      'a removed session has no copy',
    );
  },
);

t.test(
  'a replica takes its session back after the replica that continued the session is lost',
  { skip },
  async (t) => {
    const { start, copied, lose } = replicas(t);
    const [a, b] = [await start('a'), await start('b')];
    const id = await a.begin('{"one":1}\n');
    await copied(id, '{"one":1}\n');
    const takes = (by: typeof a) => async () => {
      await lose(by.store);
      return (await by.mirror.adopt(id)) === 'adopted';
    };
    await until('b has the session', takes(b));
    const path = (by: typeof a): string => {
      const projects = join(by.configDirectory, 'projects');
      const [project = ''] = readdirSync(projects).filter((each) => each !== '-a');
      return join(projects, project, `${id}.jsonl`);
    };
    appendFileSync(path(b), '{"two":2}\n');
    b.mirror.note(id);
    await copied(id, '{"one":1}\n{"two":2}\n');
    t.equal(await a.mirror.adopt(id), 'later', 'b has it and lives');
    await until('a has the session again', takes(a));
    t.equal(readFileSync(path(a), 'utf8'), '{"one":1}\n{"two":2}\n');
    t.equal(await a.mirror.adopt(id), 'here');
  },
);

t.test('the copies that were not used for the longest time make room', { skip }, async (t) => {
  const { start, keys, copied } = replicas(t, { most: 250, longest: 200 });
  const a = await start('a');
  const line = (bytes: number): string => `${'x'.repeat(bytes - 1)}\n`;
  const first = await a.begin(line(100));
  await copied(first, line(100));
  const second = await a.begin(line(100));
  await copied(second, line(100));
  const third = await a.begin(line(100));
  await copied(third, line(100));
  t.equal(await redis.exists(keys.transcript(first), keys.mirrored(first)), 0);
  t.strictSame(await redis.hkeys(keys.mirrorBytes), [second, third]);
  const ttl = await redis.pttl(keys.transcript(third));
  t.ok(ttl > 0 && ttl <= 60_000, 'a copy expires');
  writeFileSync(a.file(second), line(201));
  a.mirror.note(second);
  await a.log.logged('session_unmirrored', ({ msg }) => /more than 200 bytes/.test(msg));
  await until(
    'no part of it stays',
    async () => (await redis.exists(keys.transcript(second))) === 0,
  );
  writeFileSync(a.file(third), line(50));
  a.mirror.note(third);
  await copied(third, line(50));
});

t.test('a copy that is no session harms nothing', { skip }, async (t) => {
  const { start, keys, copied, lose } = replicas(t);
  const [a, b] = [await start('a'), await start('b')];
  const [damaged, other, linked] = [
    await a.begin('{}\n'),
    await a.begin('{}\n'),
    await a.begin('{}\n'),
  ];
  for (const id of [damaged, other, linked]) await copied(id, '{}\n');
  // The replica a gives signs of life of its own.
  const refuses = (id: string) =>
    until('it is no session', async () => {
      await lose(b.store);
      return (await b.mirror.adopt(id)) === 'none';
    });
  await redis.hset(keys.mirrored(damaged), 'record', '{"version":2}');
  await redis.hset(keys.mirrored(other), 'record', JSON.stringify(sessionRecord({ id: linked })));
  for (const id of [damaged, other]) {
    await refuses(id);
    t.equal(await b.sessions.read(id), undefined);
  }
  t.equal(await b.mirror.adopt('../../x'), 'none');
  t.equal(await b.mirror.adopt(randomUUID()), 'none', 'an unknown session');
  const project = join(b.configDirectory, 'projects');
  mkdirSync(join(b.configDirectory, 'outside'));
  const name = projectDirectory(b.workspace);
  symlinkSync(join(b.configDirectory, 'outside'), join(project, name));
  await refuses(linked);
  t.strictSame(readdirSync(join(b.configDirectory, 'outside')), [], 'a symlink is not followed');
  t.equal(b.log.count('session_adopted'), 0);
});
