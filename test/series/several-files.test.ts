/** What the process of several test files says of a file that does not end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import t from 'tap';

const support = join(import.meta.dirname, '../support');

/** Seconds for a file, and for the end of the process. Where none is exceeded, a slow machine has time. */
const patient = { file: 120, exit: 120 };

async function run(
  names: readonly string[],
  bounds: Partial<typeof patient> = {},
): Promise<{ output: string; failed: boolean }> {
  const { file, exit } = { ...patient, ...bounds };
  const child = spawn(
    process.execPath,
    [
      `--import=${pathToFileURL(join(support, 'rejections-fail.ts'))}`,
      join(support, 'several-files.ts'),
    ],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        ...process.env,
        BERTH_TEST_FILES: names
          .map((name) => `test/support/fixtures/test-files/${name}.ts`)
          .join('\n'),
        BERTH_TEST_FILE_TIMEOUT: `${file}`,
        BERTH_TEST_LONGEST_EXIT: `${exit}`,
      },
    },
  );
  const [output, [code, signal]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  return { output, failed: code !== 0 || signal !== null };
}

t.jobs = 3;

t.test('a file that ends passes', async (t) => {
  const { output, failed } = await run(['passes']);
  t.equal(failed, false);
  t.match(output, /ok 1 - a test that passes/);
});

t.test(
  'what the tests of a file share ends after the last of those that run at once',
  async (t) => {
    const { output, failed } = await run(['runs-at-once', 'passes']);
    t.equal(failed, false);
    t.match(output, /ok 5 - a test that passes/);
  },
);

t.test('a file that never ends fails by its name, and so does its test', async (t) => {
  const { output, failed } = await run(['passes', 'never-ends'], { file: 10 });
  t.equal(failed, true);
  t.match(output, /not ok \d - a test that never ends/);
  t.match(output, /expired: test\/support\/fixtures\/test-files\/never-ends\.ts/);
});

t.test('a promise that nobody awaits, and that is rejected, ends the process', async (t) => {
  const { output, failed } = await run(['leaves-a-rejection', 'passes']);
  t.equal(failed, true);
  t.match(output, /not ok \d - child test left in queue: all tests of .*leaves-a-rejection/);
  t.notMatch(output, /a test that passes/);
});

t.test('a process that goes on after its last test fails with what keeps it alive', async (t) => {
  const { output, failed } = await run(['passes', 'leaves-a-server'], { exit: 10 });
  t.equal(failed, true);
  t.match(output, /type: Server/);
  t.match(output, /expired: the process goes on although all tests have ended/);
});
