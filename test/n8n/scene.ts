/**
 * What the workflows meet: `berth serve` with the real CLI and the profiles of examples/profiles, stand-ins for the Messages
 * API, GitHub, a chat and a chat model, and a real git server with one repository and one pull request behind a real
 * gateway. Everything ends with the cleanup.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { makeWebhookSecret } from '../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { type ChatModel, startChatModel } from '../support/chat-model.ts';
import { freePort } from '../support/free-port.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { addresses } from '../support/n8n-workflows.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { type Repositories, startRepositories } from '../support/repositories.ts';
import { createRepository, type Repository } from '../support/repository.ts';
import { type Chat, chatToken, startChat } from './chat.ts';
import { agentQuestion, credentialsFor } from './community-node.ts';
import { type CommentedGitHub, githubToken, repositoryName, startGitHub } from './github.ts';
import { replyTo } from './model.ts';

export interface Scene {
  api: MessagesApi;
  github: CommentedGitHub;
  chat: Chat;
  chatModel: ChatModel;
  repositories: Repositories;
  /** The repository of the pull request. */
  repository: Repository;
  berth: Program;
  /** Where the workflows call, in the place of the addresses in the files. */
  places: typeof addresses;
  /** For `n8n import:credentials`. */
  credentials: object[];
}

const examples = join(import.meta.dirname, '../../examples/profiles/workspaces.yaml');

/** @param n8n the URL of n8n */
export async function openScene(
  root: string,
  n8n: string,
  cleanup: AsyncDisposableStack,
): Promise<Scene> {
  const [api, github, chat, chatModel] = await Promise.all([
    startMessagesApi(),
    startGitHub(),
    startChat(),
    startChatModel(agentQuestion),
  ]);
  for (const each of [api, github, chat, chatModel]) cleanup.defer(() => each.close());
  api.reply(replyTo);
  const repositories = await startRepositories(root, cleanup, repositoryName);
  const repository = makeRepository(repositories);
  const token = makeToken();
  for (const name of ['volume', 'home']) mkdirSync(join(root, name));
  writeFileSync(join(root, 'tokens'), `${tokenLine('n8n', token)}\n`);
  writeFileSync(join(root, 'webhook-secret'), makeWebhookSecret());
  const profiles = readFileSync(examples, 'utf8').replaceAll(addresses.n8n, n8n);
  writeFileSync(join(root, 'profiles.yaml'), profiles);
  const url = `http://127.0.0.1:${await freePort()}`;
  const berth = startProgram('serve', {
    arguments: ['serve'],
    environment: {
      HOME: join(root, 'home'),
      BERTH_CONFIG_DIR: join(root, 'volume'),
      BERTH_WORKSPACE_DIR: join(root, 'workspace'),
      BERTH_API_TOKENS_FILE: join(root, 'tokens'),
      BERTH_PROFILES_FILE: join(root, 'profiles.yaml'),
      BERTH_GATEWAY_URL: repositories.url,
      BERTH_HTTP_LISTEN: new URL(url).host,
      BERTH_PUBLIC_URL: url,
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_DRAIN_DELAY: '0s',
      BERTH_CALLBACK_HOSTS: '127.0.0.0/8',
      BERTH_WEBHOOK_SECRET_FILE: join(root, 'webhook-secret'),
      BERTH_CLAUDE_PATH: join(import.meta.dirname, '../../node_modules/.bin/claude'),
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
    },
  });
  cleanup.defer(async () => {
    berth.kill('SIGTERM');
    await berth.ended;
  });
  await berth.logged('listening');
  const header = (id: string, name: string, secret: string) => ({
    ...{ id, name, type: 'httpHeaderAuth' },
    data: { name: 'Authorization', value: `Bearer ${secret}` },
  });
  return {
    ...{ api, github, chat, chatModel, repositories, repository, berth },
    places: { berth: url, github: github.url, n8n },
    credentials: [
      header('berth', 'berth', token),
      header('github-for-n8n', 'GitHub for n8n', githubToken),
      {
        ...{ id: 'telegram', name: 'Telegram for n8n', type: 'telegramApi' },
        data: { accessToken: chatToken, baseUrl: chat.url },
      },
      ...credentialsFor(url, token, chatModel.url),
    ],
  };
}

/** With pull request 1, which switches a lamp off. */
function makeRepository({ root, pulls }: Repositories): Repository {
  const repository = createRepository(root, repositoryName, {
    'README.md': '# A lamp\n',
    'lamp.ts': 'export const on = false;\n',
  });
  repository.branch('feature');
  const head = repository.commit(
    { 'lamp.ts': 'export const on = "perhaps";\n' },
    'Doubt',
    'feature',
  );
  const refs = join(repository.path, 'refs/pull/1');
  mkdirSync(refs, { recursive: true });
  writeFileSync(join(refs, 'head'), `${head}\n`);
  pulls.opened.push({ title: 'Doubt', body: '', head: 'feature', base: 'main', state: 'open' });
  return repository;
}
