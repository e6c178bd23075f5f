/**
 * What run-pod.sh needs outside the pod: a git server with a sample `.claude` repository and a
 * stand-in for the Messages API, both on loopback. Takes a directory and the token that the git
 * server asks for; writes `addresses` there, as shell variables, when both answer. Ends by SIGTERM.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startGitServer } from '../../test/support/git-server.ts';
import { promptText, startMessagesApi } from '../../test/support/messages-api.ts';
import { createRepository } from '../../test/support/repository.ts';
import { readSampleFiles } from '../../test/support/sample-repository.ts';

const [directory = '', token = ''] = process.argv.slice(2);

const root = join(directory, 'git');
createRepository(root, 'me/dot-claude', {
  ...readSampleFiles(),
  // The model may run commands here, so that processes are left behind.
  'settings.json': JSON.stringify({ permissions: { allow: ['Bash'] } }),
});
const git = await startGitServer({ root, token });
const model = await startMessagesApi();
model.reply((request) => {
  const { length } = request.body?.messages ?? [];
  process.stdout.write(`the model got ${length} messages, the prompt ${promptText(request)}\n`);
  return undefined;
});
process.once('SIGTERM', async () => {
  await Promise.all([git.close(), model.close()]);
});

const addresses = `repository_url=${git.repositoryUrl('me/dot-claude')}\nmodel_url=${model.url}\n`;
writeFileSync(join(directory, 'addresses.new'), addresses);
renameSync(join(directory, 'addresses.new'), join(directory, 'addresses'));
