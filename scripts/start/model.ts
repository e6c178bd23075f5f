/** Who answers the prompts: Anthropic, if there is an account, else the stand-in Messages API. */
import { startMessagesApi } from '../../test/support/messages-api.ts';
import type { StartOptions } from './options.ts';

export interface Model {
  description: string;
  standIn: boolean;
  /** For the supervisor, which hands it to the CLI. */
  environment: Record<string, string | undefined>;
}

const accountNames = ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'CLAUDE_CODE_OAUTH_TOKEN'];

export async function prepareModel(
  options: StartOptions,
  cleanup: AsyncDisposableStack,
): Promise<Model> {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith('ANTHROPIC_'));
  const environment = {
    ...Object.fromEntries(own),
    CLAUDE_CODE_OAUTH_TOKEN: process.env.CLAUDE_CODE_OAUTH_TOKEN,
  };
  const account = accountNames.find((name) => process.env[name]);
  const login = options.credentials ?? account;
  if (login !== undefined) {
    return { description: `Anthropic, logged in by ${login}`, standIn: false, environment };
  }
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  return {
    description: `a stand-in at ${api.url}: there is no account in the environment`,
    standIn: true,
    environment: { ANTHROPIC_BASE_URL: api.url, ANTHROPIC_API_KEY: 'sk-ant-stand-in-no-account' },
  };
}
