/**
 * Decides which paths of an upstream tree may be written to the volume.
 * Invariant: the repository is not trusted with the volume: a path that would touch git, the CLI's
 * login or berth's state is skipped.
 */

/** Code points that some file systems ignore in names (git's own list for HFS+). */
const ignorable = /[\u200c-\u200f\u202a-\u202e\u2060\u206a-\u206f\ufeff]/g;

/** Files at the root that the CLI or berth writes itself; never upstream's. */
const reserved = [
  /^\.credentials\.json/,
  /^\.claude\.json/,
  /^\.berth/,
  /^\.(oauth_refresh|storage-write)\.lock$/,
];

const longestName = 255;
const longestPath = 3_072;

/** Short ASCII paths without a leading dot in a name: none of the problems below applies. */
const plain = /^[\w-][\w .-]*(\/[\w-][\w .-]*)*$/;

/** Why `path` must not be written, or undefined if it may. */
export function unsafePath(path: string): string | undefined {
  if (path.length <= longestName && plain.test(path)) return undefined;
  if (path.includes('\0') || path.includes('\\')) return 'it has a backslash or a NUL';
  if (path.includes('\ufffd')) return 'its name is not UTF-8';
  if (Buffer.byteLength(path) > longestPath) return 'it is too long';
  const parts = path.split('/');
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..') return 'it points outside the volume';
    if (Buffer.byteLength(part) > longestName) return 'it is too long';
    if (isGitDirectory(part)) return 'it is a git directory';
  }
  const first = canonical(parts[0] ?? '');
  if (reserved.some((name) => name.test(first))) return 'it is reserved';
  // The CLI's copies of `.claude.json`: init takes the newest one if that file is lost.
  const second = canonical(parts[1] ?? '');
  if (first === 'backups' && second.startsWith('.claude.json')) return 'it is reserved';
  return undefined;
}

/**
 * Why a symlink at `path` with this `target` must not be created; undefined if it may. `..` is
 * allowed only at the start of the target: after a name, which may be a symlink itself, it could
 * leave the volume. The root itself is no target: by a second symlink through the first, what is reserved could be
 * reached.
 */
export function unsafeTarget(path: string, target: string): string | undefined {
  if (target === '' || target.startsWith('/')) return 'it points outside the volume';
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const names = parts.slice(parts.findIndex((part) => part !== '..'));
  const ups = parts.every((part) => part === '..') ? parts.length : parts.length - names.length;
  const depth = path.split('/').length - 1;
  const rest = ups === parts.length ? [] : names;
  if (ups > depth || rest.includes('..')) return 'it points outside the volume';
  const pointed = [...path.split('/').slice(0, depth - ups), ...rest].join('/');
  if (pointed === '') return 'it points at the whole volume';
  return unsafePath(pointed) && 'it points at something reserved';
}

/** The name as a tolerant file system would compare it. */
function canonical(name: string): string {
  return name
    .normalize('NFKC')
    .replace(ignorable, '')
    .toLowerCase()
    .replace(/:.*$/, '')
    .replace(/[. ]+$/, '');
}

function isGitDirectory(name: string): boolean {
  const plain = canonical(name);
  return plain === '.git' || /^git~\d+$/.test(plain);
}
