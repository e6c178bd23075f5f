/** Selects the model: Anthropic, if there is an account, otherwise the stand-in Messages API. */
import type { Environment } from '../../shared/config.ts';
import { loginVariable } from '../../shared/login-variables.ts';
import { startMessagesApi } from '../../test/support/messages-api.ts';
import type { StartOptions } from './options.ts';

export interface Model {
  description: string;
  standIn: boolean;
  /**
   * Variables for the supervisor, which passes them to the CLI; they override the shell's
   * variables.
   */
  environment: Record<string, string | undefined>;
}

export async function prepareModel(
  { credentials }: Pick<StartOptions, 'credentials'>,
  shell: Environment,
  cleanup: AsyncDisposableStack,
): Promise<Model> {
  const login = credentials ?? loginVariable(shell);
  if (login !== undefined) {
    return { description: `Anthropic, logged in by ${login}`, standIn: false, environment: {} };
  }
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  return {
    description: `a stand-in at ${api.url}: there is no account in the environment`,
    standIn: true,
    environment: { ANTHROPIC_BASE_URL: api.url, ANTHROPIC_API_KEY: 'sk-ant-stand-in-no-account' },
  };
}
