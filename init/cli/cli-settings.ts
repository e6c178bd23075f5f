/** The settings of the CLI that init installs on the volume: the tarball and its integrity. */
import { unescape as decode } from 'node:querystring';
import { z } from 'zod';
import { setting } from '../../shared/config.ts';
import { neverShow } from '../../shared/redact.ts';

/** Which tarball, from where. */
export interface CliTarball {
  /** Without a login. */
  url: string;
  /** For the origin of the URL only. */
  authorization: string | undefined;
  /** `sha512-<base64>`. */
  integrity: string;
}

const tarballUrl = z.string().transform((value, context): Omit<CliTarball, 'integrity'> => {
  const url = URL.parse(value);
  if (!url || !/^https?:$/.test(url.protocol)) {
    context.addIssue({ code: 'custom', message: 'an https URL' });
    return z.NEVER;
  }
  const password = decode(url.password);
  const login = `${decode(url.username)}:${password}`;
  url.username = '';
  url.password = '';
  url.hash = '';
  if (login === ':') return { url: url.href, authorization: undefined };
  const basic = Buffer.from(login).toString('base64');
  for (const secret of [password, login, basic]) neverShow(secret);
  return { url: url.href, authorization: `Basic ${basic}` };
});

const integrity = z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/, {
  error: 'sha512- and 88 characters of base64, as `npm view` prints it',
});

export const cliDefinitions = {
  claudeTarball: setting({
    name: 'BERTH_CLAUDE_TARBALL',
    schema: tarballUrl,
    optional: true,
    secret: true,
    description:
      "The CLI's npm tarball of this platform, which init installs on the volume, for a runtime image without the CLI: the output of `npm view @anthropic-ai/claude-code-linux-x64@2.1.330 dist.tarball` (linux-arm64 on ARM). A login in the URL is sent to its host only. Set BERTH_CLAUDE_INTEGRITY too.",
  }),
  claudeIntegrity: setting({
    name: 'BERTH_CLAUDE_INTEGRITY',
    schema: integrity,
    optional: true,
    description:
      'The integrity of the tarball: `sha512-...` of `npm view @anthropic-ai/claude-code-linux-x64@2.1.330 dist.integrity` (linux-arm64 on ARM). Anything else is refused.',
  }),
};

interface CliSettings {
  claudeTarball?: Omit<CliTarball, 'integrity'> | undefined;
  claudeIntegrity?: string | undefined;
}

/** Both settings are needed. */
export function halfCli(settings: CliSettings): string[] {
  const { claudeTarball, claudeIntegrity } = settings;
  // An unreadable setting has its own problem.
  if (!('claudeTarball' in settings && 'claudeIntegrity' in settings)) return [];
  if ((claudeTarball === undefined) === (claudeIntegrity === undefined)) return [];
  const [set, missing, field] = claudeTarball
    ? ['BERTH_CLAUDE_TARBALL', 'BERTH_CLAUDE_INTEGRITY', 'dist.integrity']
    : ['BERTH_CLAUDE_INTEGRITY', 'BERTH_CLAUDE_TARBALL', 'dist.tarball'];
  return [
    `${missing} is not set, but ${set} is; set both or neither; \`npm view\` of the package prints ${field}`,
  ];
}

export function cliOf({ claudeTarball, claudeIntegrity }: CliSettings): CliTarball | undefined {
  return claudeTarball && claudeIntegrity !== undefined
    ? { ...claudeTarball, integrity: claudeIntegrity }
    : undefined;
}
