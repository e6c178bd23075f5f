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
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/ ?\d?(>>?|<)&? ?\S+/g, '')
    .replace(/^ ?(?:exec |[A-Za-z_]\w*=\S* )*/, '');
  if (alone.trim() === '') return false;
  const wanted = plain(alone).split(' ');
  const words = plain(argv.join(' ')).split(' ').slice(-wanted.length);
  return (
    words.length === wanted.length &&
    wanted.every((word, index) => fits(words[index] ?? '', word.split(variable), index === 0))
  );
}

/**
 * Whether a word consists of these texts, with any text between two of them. The settings and the arguments are
 * untrusted, so the time grows no faster than their length.
 * @param isProgram whether the word may have a directory before the first text
 */
function fits(word: string, texts: readonly string[], isProgram: boolean): boolean {
  const first = texts[0] ?? '';
  const last = texts.at(-1) ?? '';
  const mostly = word.length - last.length;
  if (!word.endsWith(last)) return false;
  if (texts.length === 1) return mostly === 0 || (isProgram && word[mostly - 1] === '/');
  let at = isProgram && !word.startsWith(first) ? word.indexOf(`/${first}`) + 1 : 0;
  if (!word.startsWith(first, at)) return false;
  for (const text of texts.slice(0, -1)) {
    at = word.indexOf(text, at);
    if (at < 0) return false;
    at += text.length;
  }
  return at <= mostly;
}

/** Without quotes, and with single blanks. */
function plain(text: string): string {
  return text
    .replaceAll(/["'\\]/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
