/**
 * The `apiKeyHelper` of the settings: the command that prints the API key, and how its process is recognised.
 * The CLI (2.1.330) starts the command with `/bin/sh -c` as a child of its own, and gives it ten minutes.
 */
import { z } from 'zod';
import { within } from '../../shared/waiting.ts';
import type { ClaudeProcess } from './process.ts';

/** Milliseconds that the CLI has to report its settings. */
const patience = 2_000;

const answer = z.object({ effective: z.object({ apiKeyHelper: z.string().min(1) }) });

/** The command that is in force; undefined if there is none, or the process does not report it. Never rejects. */
export async function helperInForce(
  process: Pick<ClaudeProcess, 'control'>,
): Promise<string | undefined> {
  const asked = process.control({ subtype: 'get_settings' }).catch(() => undefined);
  return answer.safeParse(await within(asked, patience)).data?.effective.apiKeyHelper;
}

const variable = /\$\{[A-Za-z_]\w*\}|\$[A-Za-z_]\w*|(?<=^|\s)~(?=\/)/;

/**
 * Whether a process with these arguments runs the command: the shell itself, or the only program of the
 * command, which replaces its shell.
 */
export function runsHelper(helper: string, argv: readonly string[]): boolean {
  if (argv.at(-2) === '-c' && argv.at(-1) === helper) return true;
  const alone = helper
    .replaceAll(/\s*\d?(>>?|<)&?\s*\S+/g, '')
    .replace(/^\s*(?:exec\s+|[A-Za-z_]\w*=\S*\s+)*/, '');
  const parts = plain(alone).split(variable).map(escaped);
  return (
    alone.trim() !== '' && new RegExp(`(^|\\s|/)${parts.join('\\S*')}$`).test(plain(argv.join(' ')))
  );
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Without quotes, and with single blanks. */
function plain(text: string): string {
  return text
    .replaceAll(/["'\\]/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
