import t from 'tap';
import { objectId } from '../../../init/git/pack-format.ts';
import { openDispatcher } from '../../../init/git/transport.ts';
import { readBlob } from '../../../init/github/branch-commit.ts';
import { testDirectory } from '../../support/directory.ts';
import { startGitHubApi } from '../../support/github-api.ts';
import { createRepository } from '../../support/repository.ts';

t.test('a blob below the size limit is read; a larger blob counts as missing', async (t) => {
  const large = Buffer.alloc(4 * 1024 * 1024, 'x');
  const { path } = createRepository(testDirectory(t), 'app', { 'a.md': 'one\n', 'b.md': large });
  const api = await startGitHubApi({ repository: 'me/app', gitData: { path } });
  t.teardown(() => api.close());
  const dispatcher = openDispatcher();
  t.teardown(() => dispatcher.destroy());
  const signal = AbortSignal.timeout(60_000);
  const github = { apiUrl: api.url, path: 'me/app', token: undefined, dispatcher, signal };
  const read = async (content: Buffer) => readBlob(github, objectId('blob', content));
  t.equal((await read(Buffer.from('one\n')))?.toString(), 'one\n');
  t.equal(await read(large), undefined);
  t.equal(await read(Buffer.from('nowhere')), undefined);
});
