/**
 * Names of attached files.
 * Invariants: a safe name has no directory, no leading dot and no control character, fits into a file system, and is no
 * file that the CLI reads as instructions. In a list of names each name exists once, also without regard to case.
 */
import { extname } from 'node:path';

/** Bytes of a name; file systems allow 255. */
const longest = 120;
const longestExtension = 16;

/** The CLI reads these files as instructions when it works beside them. */
const instructions = new Set(['claude.md', 'claude.local.md', 'agents.md']);

/** @param type the media type, from which a missing name is made */
export function safeName(name: string, type: string): string {
  const last = name.normalize('NFC').split(/[/\\]/).at(-1) ?? '';
  const clean = last
    .replace(/[^\p{L}\p{M}\p{N} ._()+@=,-]/gu, '_')
    .replace(/^[. -]+/, '')
    .replace(/[. ]+$/, '');
  if (clean === '') return `attachment.${extensionOf(type)}`;
  const short = shortened(clean);
  return instructions.has(short.toLowerCase()) ? `attached-${short}` : short;
}

/** The name, or the name with a number before its extension, so that `taken` does not have it yet. */
export function uniqueName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name.toLowerCase())) return name;
  const extension = extname(name);
  const base = name.slice(0, name.length - extension.length);
  for (let number = 2; ; number++) {
    const numbered = `${base}-${number}${extension}`;
    if (!taken.has(numbered.toLowerCase())) return numbered;
  }
}

function shortened(name: string): string {
  if (Buffer.byteLength(name) <= longest) return name;
  const extension = extname(name);
  const kept = Buffer.byteLength(extension) <= longestExtension ? extension : '';
  let base = name.slice(0, name.length - kept.length);
  while (Buffer.byteLength(base) + Buffer.byteLength(kept) > longest) {
    base = [...base].slice(0, -1).join('');
  }
  return base + kept;
}

function extensionOf(type: string): string {
  const subtype = type.split('/')[1] ?? '';
  return /^[a-z0-9]{1,8}$/.test(subtype) ? subtype : 'bin';
}
