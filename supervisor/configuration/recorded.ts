/**
 * Reads upstream's executable configuration from init's record on the volume.
 * Invariant: the record is untrusted (the CLI can write it), so it is bounded and parsed, and
 * invalid entries are ignored.
 */
import { join } from 'node:path';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import { inside, readFileBounded } from '../../shared/files.ts';

export interface RecordedFile {
  /**
   * The git blob id of the content, or of a symlink's target; for a kept settings.json the id of
   * the kept file.
   */
  oid: string;
  symlink: boolean;
}

/** The same bound as in init. */
const largest = 64 * 1024 * 1024;

/**
 * The files of executable configuration that init has written, by their paths on the volume.
 * @returns undefined if there is no readable record
 */
export async function readRecorded(
  stateDirectory: string,
): Promise<Map<string, RecordedFile> | undefined> {
  try {
    const content = await readFileBounded(join(stateDirectory, 'applied.json'), largest);
    if (content === undefined) return undefined;
    const record = JSON.parse(content.toString('utf8'));
    const prefix = typeof record.directory === 'string' ? `${record.directory}/` : '';
    const files = new Map<string, RecordedFile>();
    for (const [path, entry] of Object.entries(record.entries)) {
      if (!path.startsWith(prefix)) continue;
      const there = path.slice(prefix.length);
      const file = isExecutableConfiguration(there) ? fileOf(entry) : undefined;
      if (file) files.set(inside('', there).slice(1), file);
    }
    return files;
  } catch {
    return undefined;
  }
}

/**
 * Undefined for an entry that init has not written: a submodule, an unsafe path, a name that
 * clashes.
 */
function fileOf(entry: unknown): RecordedFile | undefined {
  const { mode, oid: upstreams, kept, inode, unsafe, absent } = entry as Record<string, unknown>;
  const oid = kept ?? upstreams;
  if (typeof oid !== 'string' || !/^[0-9a-f]{40}$/.test(oid)) return undefined;
  const symlink = mode === '120000';
  const written = symlink ? unsafe !== true : typeof inode === 'number';
  return written && absent !== true ? { oid, symlink } : undefined;
}
