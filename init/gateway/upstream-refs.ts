/**
 * What the gateway itself asks a git server with protocol version 2: the values of refs, the default
 * branch, and commits without their files.
 * Invariants: the answer is bounded, and read only as far as needed.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';
import { CommitScan, type History } from './ancestry.ts';
import { delimiter, flush, PacketReader, packet } from './pkt-line.ts';
import { type Place, urlOf } from './repository-pattern.ts';
import type { Upstream } from './upstream.ts';

export interface UpstreamRefs {
  /** The name without `refs/heads/`; undefined for an empty repository. */
  defaultBranch: string | undefined;
  /** The commits of refs by their full names. */
  values: ReadonlyMap<string, string>;
}

const protocol = { 'git-protocol': 'version=2' };
const head = [`agent=berth/${version}`, 'object-format=sha1'].map(packet);
/** Refs that begin with one of a push's names, in the answer. */
const mostRefs = 10_000;

/** @throws BerthError `remote_refused`, `remote_unavailable` */
export async function readRefs(
  upstream: Upstream,
  place: Place,
  refs: readonly string[],
  signal: AbortSignal,
): Promise<UpstreamRefs> {
  const prefixes = ['HEAD', ...refs].map((ref) => packet(`ref-prefix ${ref}`));
  const body = [
    packet('command=ls-refs'),
    ...head,
    delimiter,
    packet('symrefs'),
    ...prefixes,
    flush,
  ];
  const answer = await upstream.send({
    ...{ place, service: 'git-upload-pack', headers: protocol, signal },
    body: Buffer.concat(body),
  });
  const values = new Map<string, string>();
  let defaultBranch: string | undefined;
  try {
    const packets = new PacketReader(answer);
    for (let count = 0; count < mostRefs; count++) {
      const next = await packets.next();
      if (next === 'flush') return { defaultBranch, values };
      const text = Buffer.isBuffer(next) ? next.toString('latin1').trimEnd() : '';
      const [, oid, ref, target] =
        /^([0-9a-f]{40}) (\S+)(?: symref-target:refs\/heads\/(\S+))?/.exec(text) ?? [];
      if (oid === undefined || ref === undefined) throw new Error('a line is no ref');
      values.set(ref, oid);
      if (ref === 'HEAD') defaultBranch = target;
    }
    throw new Error('it lists too many refs');
  } catch (error) {
    throw unreadable(place, error);
  } finally {
    answer.destroy();
  }
}

/**
 * Adds to `history` the commits that are ancestors of `wanted` and not of `old`. Returns false if the
 * server does not have the commits, or does not list commits without their files.
 * @throws BerthError `remote_refused`, `remote_unavailable`
 */
export async function readHistory(
  upstream: Upstream,
  place: Place,
  { wanted, old, history }: { wanted: readonly string[]; old: string; history: History },
  signal: AbortSignal,
): Promise<boolean> {
  const lines = [
    'no-progress',
    'ofs-delta',
    'filter tree:0',
    ...wanted.map((oid) => `want ${oid}`),
  ];
  const body = [packet('command=fetch'), ...head, delimiter];
  const asked = [...lines, `have ${old}`, 'done'].map(packet);
  const answer = await upstream.send({
    ...{ place, service: 'git-upload-pack', headers: protocol, signal },
    body: Buffer.concat([...body, ...asked, flush]),
  });
  const scan = new CommitScan(history);
  try {
    const packets = new PacketReader(answer);
    let inPack = false;
    while (!scan.done) {
      const next = await packets.next();
      if (next === 'delimiter' || (next === 'flush' && !inPack)) continue;
      if (!Buffer.isBuffer(next)) break;
      if (inPack && next[0] === 1) scan.add(Buffer.from(next.subarray(1)));
      else if (inPack && next[0] === 3) return false;
      else if (next.toString('latin1') === 'packfile\n') inPack = true;
      else if (!inPack && next.toString('latin1', 0, 4) === 'ERR ') return false;
    }
    scan.finish();
    return true;
  } catch (error) {
    throw unreadable(place, error);
  } finally {
    answer.destroy();
  }
}

function unreadable(place: Place, error: unknown): BerthError {
  if (error instanceof BerthError) return error;
  const message = `cannot read the branches of ${urlOf(place)}: ${messageOf(error)}; try again later`;
  return new BerthError('remote_unavailable', message, { cause: error });
}
