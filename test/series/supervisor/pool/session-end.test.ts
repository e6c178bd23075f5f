import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { scripted } from '../../../support/claude.ts';
import { startPool } from '../../../support/pool.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

/** Longer than the CLI gives them by itself, and than a process without hooks has for its end. */
const hook = (seconds: number) => ({
  'settings.json': JSON.stringify({
    hooks: {
      SessionEnd: [
        {
          hooks: [
            {
              type: 'command',
              command: `cd "$CLAUDE_CONFIG_DIR"; echo begun >> ended; sleep ${seconds}; echo done >> ended`,
            },
          ],
        },
      ],
    },
  }),
});

t.jobs = 2;

t.test('SessionEnd hooks of a worker that is needed no more come to their end', async (t) => {
  const { prompt, call, surroundings } = await startWithRealCli(t, { config: hook(4) });
  const { session_id } = (await prompt('[[say hello]]')).body;
  t.equal((await call('DELETE', `/v1/sessions/${session_id}`)).status, 204);
  t.equal(readFileSync(join(surroundings.config, 'ended'), 'utf8'), 'begun\ndone\n');
});

t.test('a stopping server waits for the hooks only up to a limit', async (t) => {
  const { prompt, supervisor } = await startWithRealCli(t, { config: hook(600) });
  t.equal((await prompt('[[say hello]]')).status, 200);
  const started = performance.now();
  await supervisor.stop();
  const seconds = (performance.now() - started) / 1_000;
  t.ok(seconds > 7 && seconds < 60, `${seconds} s`);
});

t.test('the limit also applies to a worker whose end began before the stop', async (t) => {
  const { pool } = await startPool(t, {
    path: () => scripted('claude-that-is-silent'),
    prepare: async () => {},
    sessionEnd: 600_000,
    warmWorkers: 1,
  });
  await until('a worker is warm', () => pool.count('warm') === 1);
  const [worker] = pool.workers;
  if (worker) void pool.recycle(worker, 'idle');
  const began = performance.now();
  await pool.stop();
  const seconds = (performance.now() - began) / 1_000;
  t.ok(seconds > 7 && seconds < 60, `${seconds} s`);
});
