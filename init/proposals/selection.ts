/**
 * Selects the changes that a pull request has: without contents that were merged or declined before,
 * without secrets, and within bounds. A saved copy whose upstream has changed since is merged.
 * Invariant: what is left out is listed with its reason. A path that may have a secret itself is not listed, only
 * counted.
 */
import { objectId } from '../git/pack-format.ts';
import { isText, mergeText } from '../reconcile/merge-text.ts';
import type { Change, LeftOut } from './changes.ts';
import { addedText, type Login, secretIn } from './secrets.ts';
import { hasContent, type ProposalsState } from './state.ts';

export interface Selected {
  changes: Change[];
  leftOut: LeftOut[];
  /** `copies` of the state, with the copies that were found now. */
  copies: ProposalsState['copies'];
}

export interface SelectionOptions {
  found: { changes: readonly Change[]; leftOut: readonly LeftOut[] };
  state: ProposalsState;
  login: Login;
  /** Earlier results of scans by `scanKey`; results are added. */
  scans: Map<string, string | undefined>;
  /** Content of upstream. */
  readBlob: (oid: string) => Promise<Buffer | undefined>;
}

const mostFiles = 100;
/** Bytes of all files. */
const mostBytes = 1024 * 1024;
const mostScans = 1_000;
/** Files that are left out by name; more are only counted, because each name is searched for secrets. */
const mostNamed = 200;

export async function selectChanges(options: SelectionOptions): Promise<Selected> {
  const { found, state } = options;
  const leftOut = await namedLeftOut(found.leftOut, options);
  const selected: Selected = { changes: [], leftOut, copies: [] };
  const leave = async (path: string, reason: LeftOut['reason']): Promise<void> => {
    selected.leftOut.push(await withoutSecretPath({ path, reason }, options));
  };
  let bytes = 0;
  for (const change of found.changes) {
    const { path } = change;
    if (change.saved) selected.copies.push(copyOf(change, state));
    if (hasContent(state.settled, change)) continue;
    const merged = change.saved ? await ontoUpstream(change, options) : change;
    if (merged === undefined) {
      await leave(path, 'conflict');
      continue;
    }
    if (merged.oid === merged.upstream) continue;
    if ((await secretOf(merged, options)) !== undefined) {
      await leave(path, 'secret');
      continue;
    }
    bytes += merged.content.length;
    if (selected.changes.length >= mostFiles || bytes > mostBytes) {
      selected.leftOut.push({ path, reason: 'too_many' });
    } else selected.changes.push(merged);
  }
  return selected;
}

type Scanning = Pick<SelectionOptions, 'login' | 'scans'>;

/** The files that are left out, as the pull request and the log may have them. */
export async function namedLeftOut(
  leftOut: readonly LeftOut[],
  options: Scanning,
): Promise<LeftOut[]> {
  const named: LeftOut[] = [];
  for (const one of leftOut) {
    const isNamed = named.length < mostNamed;
    named.push(isNamed ? await withoutSecretPath(one, options) : { ...one, path: '' });
  }
  return named;
}

async function withoutSecretPath(one: LeftOut, { login, scans }: Scanning): Promise<LeftOut> {
  const { path } = one;
  if (path === '') return one;
  const key = [path, ...login].join('\0');
  if (!scans.has(key)) note(scans, key, await secretIn(path, path, login));
  return scans.get(key) === undefined ? one : { ...one, path: '' };
}

function note(scans: SelectionOptions['scans'], key: string, secret: string | undefined): void {
  if (scans.size >= mostScans) scans.clear();
  scans.set(key, secret);
}

/** The copy with the content of upstream from which it was made, as it was when it was found first. */
function copyOf(
  { path, oid, upstream }: Change,
  { copies }: ProposalsState,
): ProposalsState['copies'][number] {
  const known = copies.find((one) => one.path === path && one.oid === oid);
  return known ?? { path, oid, base: upstream ?? null };
}

/** The change as it is on top of upstream's present content; undefined if both changed the same lines. */
async function ontoUpstream(
  change: Change,
  { state, readBlob }: SelectionOptions,
): Promise<Change | undefined> {
  const { upstream } = change;
  const { base } = copyOf(change, state);
  if (base === (upstream ?? null)) return change;
  if (base === null || upstream === undefined) return undefined;
  const [before, now] = await Promise.all([readBlob(base), readBlob(upstream)]);
  const content = before && now && mergeText(before, change.content, now);
  return content && { ...change, content, oid: objectId('blob', content) };
}

/** The kind of secret in what the change adds; undefined if there is none. */
async function secretOf(change: Change, options: SelectionOptions): Promise<string | undefined> {
  const { path, content, oid, upstream } = change;
  const { login, scans, readBlob } = options;
  const key = [path, oid, upstream, ...login].join('\0');
  if (scans.has(key)) return scans.get(key);
  const text = content.toString('utf8');
  let secret = (await secretIn(path, path, login)) ?? (await secretIn(text, path, login));
  if (secret !== undefined && upstream !== undefined) {
    // Upstream may have had it before: only what is new counts.
    const base = await readBlob(upstream);
    if (base && isText(base)) {
      const added = addedText(base.toString('utf8'), text);
      secret = (await secretIn(path, path, login)) ?? (await secretIn(added, path, login));
    }
  }
  note(scans, key, secret);
  return secret;
}
