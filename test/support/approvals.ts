/** A supervisor whose profile wants calls of Bash to be approved, with three tokens and a webhook. */
import { join } from 'node:path';
import type { Test } from 'tap';
import { digestToken, fixedTokens } from '../../supervisor/http/tokens.ts';
import { bashAllowed } from './claude.ts';
import { promptText } from './messages-api.ts';
import { type SupervisorOptions, startSupervisor } from './supervisor.ts';
import { until } from './until.ts';
import type { WebhookReceiver } from './webhook-receiver.ts';

export const boss = 'a-token-of-the-boss';
export const stranger = 'a-token-of-a-stranger';
export const webhookSecret = `whsec_${Buffer.from('a secret of 24 bytes ...').toString('base64')}`;

const tokens = fixedTokens([
  { name: 'tests', digest: digestToken('a-token-of-the-tests') },
  { name: 'boss', digest: digestToken(boss) },
  { name: 'stranger', digest: digestToken(stranger) },
]);

/**
 * @param rules more lines of `approvals`, such as `timeout: 1s`
 * @param options.hasty the same for the profile `hasty`, which is there only with this option
 */
export async function startWithApprovals(
  t: Test,
  rules: string,
  options: SupervisorOptions & {
    receiver?: WebhookReceiver;
    allow?: string;
    ask?: string;
    hasty?: string;
  } = {},
) {
  const { receiver, allow = 'Bash(echo:*)', ask = 'Bash(touch:*)', hasty, ...rest } = options;
  const webhook = receiver ? `\n      webhook: ${receiver.url}/ask?key=1` : '';
  const profile = (name: string, rules: string) => `  ${name}:
    tools: {allow: ["${allow}"]}
    approvals:
      tools: ["${ask}"]
      approvers: [boss, tests]
      ${rules}${webhook}
`;
  const more = hasty === undefined ? '' : profile('hasty', hasty);
  const profiles = `profiles:\n${profile('default', rules)}${more}`;
  const made = await startSupervisor(t, {
    config: {
      'settings.json': bashAllowed,
      'profiles.yaml': profiles,
      'webhook-secret': webhookSecret,
    },
    tokens,
    ...rest,
    settings: {
      BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml'),
      BERTH_PUBLIC_URL: 'https://berth.example/api/',
      ...(receiver && {
        BERTH_CALLBACK_HOSTS: `127.0.0.1:${receiver.port}`,
        BERTH_WEBHOOK_SECRET_FILE: join(t.testdirName, 'config', 'webhook-secret'),
      }),
      ...rest.settings,
    },
  });
  // The model makes a call again when the text that continues its turn asks for that.
  made.surroundings.api.reply((request) => {
    const text = promptText(request) ?? '';
    const [, input] = /same call again, then carry on:\nBash (\{.*\})/.exec(text) ?? [];
    const last = JSON.stringify(request.body?.messages?.at(-1) ?? {});
    if (input === undefined || last.includes('"tool_result"')) return undefined;
    return { tool: { name: 'Bash', input: JSON.parse(input) } };
  });
  const asBoss = { token: boss };
  const pending = (count = 1) =>
    until(`${count} approvals wait`, async () => {
      const { body } = await made.call('GET', '/v1/approvals', asBoss);
      return body.approvals.length === count ? body.approvals : undefined;
    });
  const decide = (id: string, body: object, token = boss) =>
    made.call('POST', `/v1/approvals/${id}`, { token, body });
  return { ...made, pending, decide };
}

/** The directive for a call of Bash. */
export function bash(command: string): string {
  return `[[tool Bash ${JSON.stringify({ command })}]]`;
}
