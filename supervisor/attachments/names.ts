/**
 * Names of attached files.
 * Invariants: a safe name has no directory, no leading dot and no control character, fits into a file system, and is no
 * file that the CLI reads as instructions. In a list of names each name exists once, also without regard to case. The
 * time for a name grows no faster than its length: a caller may send megabytes as a name.
 */
import { extname } from 'node:path';

/** Bytes of a name; file systems allow 255. */
const longest = 120;
const longestExtension = 16;
/** Characters at the end of a sent name that are read; the end has the extension. */
const longestRead = 1_024;

/** The CLI reads these files as instructions when it works beside them. */
const instructions = new Set(['claude.md', 'claude.local.md', 'agents.md']);

/** @param type the media type, from which a missing name is made */
export function safeName(name: string, type: string): string {
  const last = name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1);
  const clean = withoutEnd(
    last
      .slice(-longestRead)
      .normalize('NFC')
      .replace(/[^\p{L}\p{M}\p{N} ._()+@=,-]/gu, '_')
      .replace(/^[. -]+/, ''),
  );
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
  let base = '';
  let bytes = Buffer.byteLength(kept);
  for (const sign of name.slice(0, name.length - kept.length)) {
    bytes += Buffer.byteLength(sign);
    if (bytes > longest) break;
    base += sign;
  }
  return base + kept;
}

/** The name without the dots and blanks at its end. */
function withoutEnd(name: string): string {
  let end = name.length;
  while (end > 0 && '. '.includes(name.charAt(end - 1))) end--;
  return name.slice(0, end);
}

function extensionOf(type: string): string {
  const subtype = type.split('/')[1] ?? '';
  return /^[a-z0-9]{1,8}$/.test(subtype) ? subtype : 'bin';
}
