/** A conversation with the real CLI goes on at another replica, after its own replica was killed for good. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import t from 'tap';
import { Keys } from '../../../../supervisor/jobs/redis/keys.ts';
import { makeSurroundings, realClaude, surroundingsIn } from '../../../support/claude.ts';
import { startProgram } from '../../../support/programs.ts';
import { cannotRunRedis, redisServer } from '../../../support/redis-server.ts';
import { startWithRealCli, token } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.test(
  'a job continues the session of a lost replica from its mirrored transcript',
  { skip: cannotRunRedis() },
  async (t) => {
    const server = await redisServer(t);
    const redis = new Redis(server.url);
    t.teardown(() => redis.disconnect());
    const keys = new Keys('berth');
    const surroundings = await makeSurroundings(t);
    const { api } = surroundings;
    const shared = {
      ...{ BERTH_REDIS_URL: server.url, BERTH_REDIS_MIRROR_SIZE: '8Mi', BERTH_REPLICA_LOST: '10s' },
    };
    const root = join(t.testdirName, 'a');
    for (const name of ['config', 'home']) mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, 'tokens'), `tests:${token}\n`);
    const a = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        ...surroundingsIn(root, api).inherited,
        ...shared,
        BERTH_CONFIG_DIR: join(root, 'config'),
        BERTH_WORKSPACE_DIR: join(root, 'workspace'),
        BERTH_API_TOKENS_FILE: join(root, 'tokens'),
        BERTH_CLAUDE_PATH: realClaude,
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_REPLICA: 'a',
        BERTH_WARM_WORKERS: '0',
        BERTH_SHARED_SPARES: '0',
      },
    });
    t.teardown(() => a.kill('SIGKILL'));
    const { address } = await a.logged('listening');
    const jobAtA = async (body: object) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const answer = await fetch(`${address}/v1/jobs`, {
        ...{ method: 'POST', headers, body: JSON.stringify(body) },
      });
      const { id } = (await answer.json()) as { id: string };
      const read = async (wait: string) =>
        (await fetch(`${address}/v1/jobs/${id}?wait=${wait}`, { headers })).json() as Promise<{
          state: string;
          session_id: string;
        }>;
      return { id, read };
    };
    const first = await jobAtA({ prompt: 'The word is canary-of-a-lost-pod. [[say noted]]' });
    const { state, session_id } = await first.read('60s');
    t.equal(state, 'succeeded');
    await until('the answer is mirrored', async () =>
      (await redis.get(keys.transcript(session_id)))?.includes('"noted"'),
    );
    const second = await jobAtA({ prompt: '[[say and on]]', session_id, delay: '3s' });
    a.kill('SIGKILL');
    await a.ended;

    const b = await startWithRealCli(t, {
      surroundings,
      settings: { ...shared, BERTH_REPLICA: 'b' },
    });
    const { body: ended } = await b.call('GET', `/v1/jobs/${second.id}?wait=60s`);
    t.match(ended, {
      ...{ state: 'succeeded', session_id, result: { result: 'and on' } },
      notes: [/was on the replica a, which is gone: the job continues the copy/],
    });
    const sent = JSON.stringify(api.requests.at(-1)?.body?.messages);
    t.match(sent, /canary-of-a-lost-pod.*noted.*and on/, 'the model gets the whole conversation');
    t.match(await b.prompt('[[say still here]]', { session_id }), {
      status: 200,
      body: { session_id },
    });
    t.equal(await redis.hget(keys.mirrored(session_id), 'replica'), 'b');
  },
);
