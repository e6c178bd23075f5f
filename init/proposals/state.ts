/**
 * `proposals.json` in berth's state: what was proposed, and how it ended.
 * Invariants: tools can write this file, so nothing in it makes a file be proposed that is not on the
 * volume, and the lists are bounded. Without the file, the pull requests have the most important
 * part of it.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../shared/files.ts';
import { proposalsFile, readVersioned } from '../volume/record.ts';
import { volumePath } from '../volume/subdirectory.ts';

const oid = z.string().regex(/^[0-9a-f]{40}$/);
const path = z.string().max(3_072);

const content = z.object({
  /** In the repository. */
  path,
  /** Git's id of the content. */
  oid,
});
export type ProposedContent = z.infer<typeof content>;

const state = z.object({
  version: z.literal(1),
  /** BERTH_REPO without a login. */
  repository: z.string(),
  /** When proposals were turned on, ISO 8601. */
  since: z.iso.datetime(),
  /** The open pull request. */
  pull: z
    .object({
      number: z.number().int().positive(),
      /** The commit of the branch. */
      commit: oid,
      /** Of what the pull request has: its commit, its files, and what was left out. */
      digest: z.string().max(64),
      files: z.array(content).max(1_000),
    })
    .optional(),
  /** A pull request may be open without being recorded as `pull`: the run may have ended meanwhile. */
  opening: z.literal(true).optional(),
  /** The number of a pull request whose branch is being deleted, because no change was left. */
  withdrawing: z.number().int().positive().optional(),
  /** The last commit of the last pull request that has ended: the branch may leave it. */
  finished: oid.optional(),
  /** Contents that were ever on the branch, oldest first. */
  proposed: z.array(content).max(5_000),
  /** Contents of pull requests that were merged or closed: they are not proposed again. */
  settled: z.array(content).max(5_000),
  /** The upstream content from which a saved copy was made, as far as it is known. */
  copies: z.array(z.object({ path, oid, base: oid.nullable() })).max(5_000),
});
export type ProposalsState = z.infer<typeof state>;

const limit = 4 * 1024 * 1024;
const most = { proposed: 2_000, settled: 2_000, copies: 1_000 } as const;

/**
 * @returns undefined without a usable file for this repository
 * @throws BerthError `volume_damaged` if a newer version wrote the file
 */
export async function readProposals(
  stateDirectory: string,
  repository: string,
): Promise<ProposalsState | undefined> {
  const read = await readVersioned(join(stateDirectory, proposalsFile), state, limit);
  return read.kind === 'valid' && read.value.repository === repository ? read.value : undefined;
}

/** @throws BerthError `volume_unwritable` */
export async function writeProposals(stateDirectory: string, value: ProposalsState): Promise<void> {
  const bounded = {
    ...value,
    proposed: value.proposed.slice(-most.proposed),
    settled: value.settled.slice(-most.settled),
    copies: value.copies.slice(-most.copies),
  };
  const text = JSON.stringify(bounded);
  await writeFileAtomic(join(stateDirectory, proposalsFile), text, { mode: 0o600 });
}

/** The list with the contents added, each once. */
export function withContents(
  list: readonly ProposedContent[],
  added: readonly ProposedContent[],
): ProposedContent[] {
  const key = (one: ProposedContent) => `${one.oid} ${one.path}`;
  const all = new Map(list.map((one) => [key(one), one]));
  for (const { path, oid } of added) {
    all.delete(key({ path, oid }));
    all.set(key({ path, oid }), { path, oid });
  }
  return [...all.values()];
}

export function hasContent(list: readonly ProposedContent[], wanted: ProposedContent): boolean {
  return list.some(({ path, oid }) => path === wanted.path && oid === wanted.oid);
}

/**
 * The contents that were proposed, by path on the volume: if upstream has one of them, an edit on the
 * volume was made from it. Empty without a usable record.
 */
export async function proposedOnVolume(
  stateDirectory: string,
  repository: string,
  directory: string | null,
): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>();
  const record = await readProposals(stateDirectory, repository).catch(() => undefined);
  for (const { path, oid } of record?.proposed ?? []) {
    const file = volumePath(path, directory);
    if (file === undefined) continue;
    found.set(file, (found.get(file) ?? new Set()).add(oid));
  }
  return found;
}
