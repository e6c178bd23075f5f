/**
 * The required state of executable configuration while the supervisor runs: as init has recorded
 * it, and without a record, as it is at the start.
 */
import type { Log } from '../../shared/log.ts';
import { readCopy, writeCopies } from './copies.ts';
import { type Content, contentAt, findExecutable, isOfTheCli } from './entries.ts';
import { type RecordedFile, readRecorded } from './recorded.ts';

export interface Baseline {
  /** By path on the volume. */
  files: Map<string, Content>;
  /** Files at the start that are too large to be kept: they are not guarded. */
  unguarded: Set<string>;
  /** Paths that differ from the record and have no copy. */
  lost: string[];
  /** Paths of init's record. */
  recorded: ReadonlySet<string>;
  /** The directories at the start, and those of init's record. */
  directories: Set<string>;
  /** A directory with too many entries at the start, so that it is unknown which entries are new; undefined: none. */
  crowded: string | undefined;
}

export const noBaseline = (): Baseline => ({
  ...{ files: new Map(), unguarded: new Set(), lost: [], recorded: new Set() },
  ...{ directories: new Set(['']), crowded: undefined },
});

/** The most entries at the start that are not in init's record. */
export const mostAtStart = 20_000;

/** The maximum bytes of all files together that are kept in memory. */
const mostBytes = 64 * 1024 * 1024;

/**
 * Call this while no CLI runs, or with the baseline before.
 * @param before the state of files without a record, which must stay although CLIs run
 * @returns `before` itself if there is no readable record: then nobody knows which files are init's
 */
export async function takeBaseline(
  configDirectory: string,
  stateDirectory: string,
  log: Log,
  before?: Baseline,
): Promise<Baseline> {
  const record = await readRecorded(stateDirectory);
  if (!record && before) return before;
  const recorded = record ?? new Map<string, RecordedFile>();
  // The state of files without a record was right before: it is kept below.
  const { files, directories, crowded } =
    before === undefined
      ? findExecutable(configDirectory, mostAtStart, (path) => recorded.has(path))
      : { ...before, files: new Map() };
  const baseline: Baseline = {
    ...noBaseline(),
    recorded: new Set(recorded.keys()),
    directories: new Set([...directories, ...[...recorded.keys()].flatMap(directoriesOf)]),
    crowded,
  };
  const copies = new Map<string, Buffer>();
  let bytes = 0;
  const paths = new Set([...files.keys(), ...recorded.keys()]);
  for (const path of paths) {
    const wanted = recorded.get(path);
    if (!wanted && isOfTheCli(path)) continue;
    const there = contentAt(`${configDirectory}/${path}`);
    const content = wanted ? await upstreams(stateDirectory, wanted, there) : there;
    if (!content && wanted && there) baseline.lost.push(path);
    if (!content || bytes + content.bytes.length > mostBytes) {
      baseline.unguarded.add(path);
      continue;
    }
    bytes += content.bytes.length;
    baseline.files.set(path, content);
    if (wanted && content.kind === 'file') copies.set(content.oid, content.bytes);
  }
  if (before) {
    const isOwn = (path: string) => !recorded.has(path) && !before.recorded.has(path);
    for (const [path, content] of before.files) if (isOwn(path)) baseline.files.set(path, content);
    for (const path of before.unguarded) if (isOwn(path)) baseline.unguarded.add(path);
  }
  // The copies may be those of a record that can be read later.
  if (!record) return baseline;
  await writeCopies(stateDirectory, copies).catch((error: unknown) => {
    const text = 'an edit made while no supervisor was running could not be reverted without init';
    log.warn('configuration_unkept', text, { error });
  });
  return baseline;
}

function directoriesOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** The recorded files: the file itself is right, or there is a copy. */
async function upstreams(
  stateDirectory: string,
  { oid, symlink }: RecordedFile,
  there: Content | undefined,
): Promise<Content | undefined> {
  if (there?.oid === oid && (there.kind === 'symlink') === symlink) return there;
  const bytes = symlink ? undefined : await readCopy(stateDirectory, oid);
  return bytes && { kind: 'file', bytes, executable: there?.executable ?? false, oid };
}
