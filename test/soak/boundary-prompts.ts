/**
 * Texts that a program might take for more than text: commands of the CLI, mentions, its own markup,
 * words of hooks, prefixes and control characters. The same seed makes the same texts.
 * Invariants: each text is unique, for it ends with its number, and is well-formed Unicode. The kinds of texts take turns.
 */
import { reservedCommands } from '../../supervisor/claude/reserved-commands.ts';
import { Random } from './random.ts';

const commands = [
  ...reservedCommands,
  ...['review', 'init', 'security-review', 'code-review', 'insights', 'batch', 'tea', 'unknown'],
];

const markup = [
  ...['system-reminder', 'command-name', 'command-message', 'command-args', 'bash-input'],
  ...['local-command-stdout', 'local-command-stderr', 'local-command-caveat', 'bash-stdout'],
  ...[
    'task-notification',
    'user-memory-input',
    'user-prompt-submit-hook',
    'tool_use_error',
    'tick',
  ],
];

const words = [
  ...[
    'ultrathink',
    'ultracode',
    'workflow',
    'Stop hook feedback:',
    'continue: false',
    '{"decision":"block"}',
  ],
  ...['[Request interrupted by user]', 'No response requested.', '(no content)', '[Image #1]'],
  ...['$ARGUMENTS', '$1', '$HOME', '$(id)', '!`id`', '--dangerously-skip-permissions', '\\n', '%s'],
];

/** All that a keyboard has, and what no keyboard has. */
const printable = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index));
const controls = Array.from({ length: 32 }, (_, index) => String.fromCharCode(index));
const others = [
  '\x7f',
  '\x85',
  '\u00a0',
  '\u200b',
  '\u200d',
  '\u202e',
  '\u2028',
  '\u2029',
  '\ufeff',
];
const unicode = [
  ...others,
  'é',
  'e\u0301',
  '漢字',
  '😀',
  '👩‍👩‍👧',
  '\u{10ffff}',
  '\ufffe',
  '／model',
];

/** @param files that exist, by absolute paths, and are mentioned */
export function makePrompts(count: number, seed: number, files: readonly string[]): string[] {
  const random = new Random(seed);
  const kinds: (() => string)[] = [
    () => `/${random.pick(commands)}`,
    () =>
      `/${random.pick(commands)} model=opus permissionMode=acceptEdits max @${random.pick(files)}`,
    () => `${random.pick([' ', '\t', '\n', '\r\n', '\u00a0'])}/${random.pick(commands)} opus`,
    () => `look @${random.pick(files)} and @"${random.pick(files)}" now`,
    () => `@${random.pick(files)}:1-3 @. @server:resource://one @agent-general-purpose`,
    () => tagged(random.pick(markup), random.pick([...words, ...commands])),
    () => `${random.pick(words)} ${random.pick(words)}`,
    () => `${random.pick(printable)}${random.pick(commands)} @${random.pick(files)}`,
    () => `${random.pick(printable)}${random.pick(printable)} ${random.pick(words)}`,
    () => `${random.pick(controls)}x${random.pick(controls)}${random.pick(unicode)}`,
    () => `${random.pick(unicode)}${random.pick(unicode)}/${random.pick(commands)}`,
  ];
  let made = 0;
  const ofNextKind = () => kinds[made++ % kinds.length]?.() ?? '';
  return Array.from({ length: count }, (_, number) => {
    // Every fourth has the next prefix, until each was there.
    const prefix = number % 4 === 0 ? printable[number / 4] : undefined;
    const text = prefix === undefined ? ofNextKind() : `${prefix}x`;
    return `${text} k${number}`;
  });
}

function tagged(name: string, text: string): string {
  return `<${name}>${text}</${name}>`;
}
