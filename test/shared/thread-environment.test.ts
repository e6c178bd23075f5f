import { once } from 'node:events';
import { enableCompileCache, getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { threadEnvironment } from '../../shared/thread-environment.ts';
import { testDirectory } from '../support/directory.ts';

const answer =
  'require("worker_threads").parentPort.postMessage([Object.keys(process.env), require("module").getCompileCacheDir()])';

t.test('a thread uses the compiled code of its process and sees no other variable', async (t) => {
  // The runner of the tests has done it already.
  enableCompileCache(testDirectory(t));
  const thread = new Worker(answer, { eval: true, env: threadEnvironment() });
  const [[names, directory]] = await once(thread, 'message');
  t.strictSame(names, ['NODE_COMPILE_CACHE']);
  t.equal(directory, getCompileCacheDir());
});

t.test('a thread has no variable at all where no compiled code is kept', async (t) => {
  t.strictSame(threadEnvironment(''), {});
});
