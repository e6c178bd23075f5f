/** The results of jobs as resources, read by the official client. */
import t, { type Test } from 'tap';
import { answerOf, otherToken, startApiServer } from '../../../support/api-server.ts';
import { jobOf } from '../../../support/job.ts';
import { connectMcp } from '../../../support/mcp-client.ts';
import { memoryJobStore } from '../../../support/memory-job-store.ts';
import { idOf } from '../../../support/session-record.ts';

const [plain, structured, failed, foreign] = [1, 2, 3, 4].map((n) => `job_${idOf(n)}`) as [
  string,
  string,
  string,
  string,
];
const uriOf = (id: string): string => `berth://jobs/${id}/result`;

async function startWithJobs(t: Test) {
  const jobStore = memoryJobStore();
  const own = { token: 'tests', state: 'succeeded' } as const;
  await jobStore.add(jobOf({ ...own, id: plain, result: answerOf('# Hello') }));
  const result = { ...answerOf('see the data'), structured_output: { n: [1] } };
  await jobStore.add(jobOf({ ...own, id: structured, result }));
  const error = { code: 'turn_failed', detail: 'cannot run it' };
  await jobStore.add(jobOf({ ...own, id: failed, state: 'failed', error }));
  await jobStore.add(
    jobOf({ ...own, id: foreign, token: 'somebody', result: answerOf('a secret') }),
  );
  return startApiServer(t, { jobStore });
}

t.test('a result is Markdown, and its structured output is JSON beside it', async (t) => {
  const client = await connectMcp(t, (await startWithJobs(t)).url);
  t.match(await client.readResource({ uri: uriOf(plain) }), {
    contents: [{ uri: uriOf(plain), mimeType: 'text/markdown', text: '# Hello' }],
  });
  t.match((await client.readResource({ uri: uriOf(structured) })).contents, [
    { mimeType: 'text/markdown' },
    { mimeType: 'application/json', text: '{"n":[1]}' },
  ]);
});

t.test('the list has the results of this token alone', async (t) => {
  const { url } = await startWithJobs(t);
  const listFor = async (token?: string) => {
    const client = await connectMcp(t, url, token === undefined ? {} : { token });
    return (await client.listResources()).resources.map(({ uri }) => uri).sort();
  };
  t.same(await listFor(), [uriOf(plain), uriOf(structured)].sort());
  t.same(await listFor(otherToken), [uriOf(foreign)]);
});

t.test('a failed job, a job of another token and no job at all have no result', async (t) => {
  const client = await connectMcp(t, (await startWithJobs(t)).url);
  await t.rejects(client.readResource({ uri: uriOf(failed) }), /is failed and has no result/);
  await t.rejects(client.readResource({ uri: uriOf(foreign) }), /no such job/);
  await t.rejects(client.readResource({ uri: uriOf(`job_${idOf(9)}`) }), /no such job/);
});
