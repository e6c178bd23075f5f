/** What the person at the terminal asked `npm start` for. */
import { parseArgs } from 'node:util';

export interface StartOptions {
  /** The person's own repository; absent means the sample one. */
  repository: string | undefined;
  ref: string | undefined;
  /** A credentials file to log the CLI in with. */
  credentials: string | undefined;
  /** One prompt to send, after which everything stops. */
  ask: string | undefined;
  help: boolean;
}

export const help = `npm start -- [options]

  --ask TEXT          send one prompt, print the JSON answer, stop
  --repo URL          your own .claude repository: owner/name or an https URL
                      (its token from GITHUB_PAT or BERTH_GIT_TOKEN)
  --ref REF           a branch, a tag or a commit of it
  --credentials FILE  log the CLI in with this .credentials.json
  --help

With ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN in the environment, or --credentials, the prompts go
to Anthropic. Without any of them a stand-in on this machine answers in the model's place.
`;

/** @throws TypeError that names an option it does not know */
export function readOptions(argumentsGiven: readonly string[]): StartOptions {
  const { values } = parseArgs({
    args: [...argumentsGiven],
    options: {
      ask: { type: 'string' },
      repo: { type: 'string' },
      ref: { type: 'string' },
      credentials: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  return {
    repository: values.repo,
    ref: values.ref,
    credentials: values.credentials,
    ask: values.ask,
    help: values.help ?? false,
  };
}
