/**
 * Keeps one pull request of the branch `berth/changes` equal to what changed on the volume.
 * Invariants: the volume is only read, apart from the record proposals.json. A pass during a change
 * of the volume proposes nothing. Without a change and without an open pull request, no request is
 * sent. What was merged or declined is not proposed again.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import type { GitHub } from '../github/github-api.ts';
import { appliedFile, pendingFile, readTreeRecord, type TreeRecord } from '../volume/record.ts';
import { findChanges } from './changes.ts';
import { bodyOf, titleOf } from './description.ts';
import { branchOf, withGitHub } from './github-access.ts';
import type { PassResult, ProposalMetrics } from './metrics.ts';
import { readLogin } from './secrets.ts';
import { namedLeftOut, type Selected, selectChanges } from './selection.ts';
import { proposalsBranch } from './settings.ts';
import { type ProposalsState, readProposals, withContents, writeProposals } from './state.ts';

export interface ProposerOptions {
  /** Reads the settings again. @throws BerthError `config_invalid` */
  readConfig: () => InitConfig;
  metrics: ProposalMetrics;
  log: Log;
  /** If nothing was proposed before, copies that were saved from then on are proposed; now, by default. */
  since?: Date;
}

type GitHubModules = typeof import('../github/branch-commit.ts') &
  typeof import('../github/pull-requests.ts');

/** Log lines of a pass about files that are left out. */
const mostReported = 20;

interface Pass {
  config: InitConfig;
  record: TreeRecord;
  state: ProposalsState;
  github: GitHub;
  api: GitHubModules;
  found: Awaited<ReturnType<typeof findChanges>>;
}

export class Proposer {
  readonly #options: ProposerOptions;
  readonly #scans = new Map<string, string | undefined>();
  /** Until the state can be written. */
  readonly #since: Date;
  /** What was left out at the last pass, so that it is logged once. */
  #reported = new Set<string>();
  #heldAt: string | undefined;

  constructor(options: ProposerOptions) {
    this.#options = options;
    this.#since = options.since ?? new Date();
  }

  /** Compares the volume with the repository once, and updates the pull request. @throws BerthError */
  async pass(signal: AbortSignal): Promise<PassResult> {
    const { readConfig, metrics } = this.#options;
    const config = readConfig();
    const { configDirectory, stateDirectory, repository, proposePaths: listed = [] } = config;
    const record = await steadyRecord(config);
    if (!record) return 'none';
    const known = await readProposals(stateDirectory, repository.url);
    const state = known ?? newState(repository.url, this.#since);
    const since = new Date(state.since);
    const place = { configDirectory, stateDirectory };
    const found = await findChanges({ ...place, record, listed, since, signal });
    const isSettled = found.changes.every((one) =>
      state.settled.some(({ path, oid }) => path === one.path && oid === one.oid),
    );
    const isOver = !state.pull && !state.opening && state.withdrawing === undefined;
    if (known && isOver && isSettled) {
      const login = await readLogin(configDirectory);
      const leftOut = await namedLeftOut(found.leftOut, { login, scans: this.#scans });
      metrics.found(0, leftOut);
      this.#report(leftOut);
      return 'none';
    }
    const [branch, pulls] = await Promise.all([
      import('../github/branch-commit.ts'),
      import('../github/pull-requests.ts'),
    ]);
    const api = { ...branch, ...pulls };
    return withGitHub(config, signal, async (github) => {
      const pass = { config, record, state, github, api, found };
      if (!known) pass.state = await this.#recover(pass);
      if (pass.state.opening) pass.state = await this.#adopt(pass);
      pass.state = await this.#follow(pass);
      return this.#propose(pass);
    });
  }

  /** Without a record, contents of closed pull requests are known as settled. */
  async #recover({ state, github, api, config }: Pass): Promise<ProposalsState> {
    const closed = await api.closedPullRequests(github, proposalsBranch);
    let { settled } = state;
    for (const { number } of closed.slice(0, 10).reverse()) {
      settled = withContents(settled, await api.filesOf(github, number));
    }
    const [last] = closed;
    const recovered = { ...state, settled, ...(last ? { finished: last.commit } : {}) };
    await writeProposals(config.stateDirectory, recovered);
    return recovered;
  }

  /** Records an open pull request that an interrupted run has opened. A branch of a person stays. */
  async #adopt({ state, github, api, config }: Pass): Promise<ProposalsState> {
    const { opening: _, ...others } = state;
    let adopted: ProposalsState = others;
    const found = await api.findPullRequest(github, proposalsBranch);
    if (found && (await api.isOwnBranch(github, proposalsBranch))) {
      const files = await api.filesOf(github, found.number);
      const pull = { number: found.number, commit: found.commit, digest: '', files };
      adopted = { ...others, proposed: withContents(state.proposed, files), pull };
    }
    await writeProposals(config.stateDirectory, adopted);
    return adopted;
  }

  /** Notices that the pull request was merged or closed. */
  async #follow({ state, github, api, config }: Pass): Promise<ProposalsState> {
    const { pull, ...others } = state;
    if (!pull) return state;
    const { log, metrics } = this.#options;
    const now = await api.readPullRequest(github, pull.number);
    if (now.state === 'open') return state;
    const files = await api.filesOf(github, pull.number);
    const settled = withContents(state.settled, [...pull.files, ...files]);
    const followed = { ...others, settled, finished: now.head.commit };
    await writeProposals(config.stateDirectory, followed);
    metrics.ended(now.merged ? 'merged' : 'declined');
    const text = now.merged
      ? `pull request ${pull.number} was merged`
      : `pull request ${pull.number} was closed: its content is not proposed again`;
    log.info('proposal_ended', text, { number: pull.number, merged: now.merged });
    return followed;
  }

  async #propose(pass: Pass): Promise<PassResult> {
    const { config, record, state, github, api, found } = pass;
    const { metrics, log } = this.#options;
    const login = await readLogin(config.configDirectory);
    const scans = this.#scans;
    const readBlob = (oid: string) => api.readBlob(github, oid);
    const selected = await selectChanges({ found, state, login, scans, readBlob });
    const { changes, leftOut, copies } = selected;
    metrics.found(changes.length, leftOut);
    this.#report(leftOut);
    if (JSON.stringify(copies) !== JSON.stringify(state.copies)) {
      state.copies = copies;
      await writeProposals(config.stateDirectory, state);
    }
    if (changes.length === 0) return this.#withdraw(pass);
    const digest = digestOf(record, selected);
    if (state.pull?.digest === digest) return 'unchanged';
    // A change of the volume in between would mix two commits.
    if ((await steadyRecord(config))?.commit !== record.commit) return 'none';
    const described = { changes, leftOut, commit: record.commit };
    // If this run ends before the pull request is recorded, the next pass looks for it.
    const mark = state.pull ? {} : { opening: true as const };
    if (!state.pull) await writeProposals(config.stateDirectory, { ...state, ...mark });
    const placed = await api.placeCommit(github, {
      branch: proposalsBranch,
      parent: record.commit,
      parentTree: treeIdOf(record),
      files: changes.map(({ path, mode, content }) => ({ path, mode, text: content.toString() })),
      message: titleOf(described),
      finished: state.finished,
    });
    if (placed.kind === 'foreign') {
      if (!state.pull) await writeProposals(config.stateDirectory, state);
      return this.#hold(placed.commit);
    }
    // With the contents before a merge: an edit that continues belongs to the merged content then.
    const originals = found.changes.filter((one) => changes.some(({ path }) => path === one.path));
    const files = withContents([], [...originals, ...changes]);
    const { withdrawing: _, ...others } = state;
    const written = { ...others, proposed: withContents(state.proposed, files) };
    await writeProposals(config.stateDirectory, { ...written, ...mark });
    const { number, created, url } = await api.openPullRequest(github, {
      branch: proposalsBranch,
      title: titleOf(described),
      body: bodyOf(described),
      base: branchOf(config.ref),
    });
    const pull = { number, commit: placed.commit, digest, files };
    await writeProposals(config.stateDirectory, { ...written, pull });
    const text = `pull request ${number} was ${created ? 'opened' : 'updated'}`;
    const paths = changes.map(({ path }) => path).slice(0, 20);
    log.info('proposed', text, { number, created, url, count: changes.length, paths });
    return created ? 'opened' : 'updated';
  }

  /** Nothing is left to propose: the branch goes, and the pull request with it. */
  async #withdraw({ state, github, api, config }: Pass): Promise<PassResult> {
    const { pull, withdrawing: number = pull?.number, ...others } = state;
    if (number === undefined) return 'none';
    // The next pass continues if this one is interrupted.
    await writeProposals(config.stateDirectory, { ...others, withdrawing: number });
    await api.removeBranch(github, proposalsBranch);
    await writeProposals(config.stateDirectory, others);
    const text = `pull request ${number} was withdrawn: no change is left on the volume`;
    this.#options.log.info('proposal_withdrawn', text, { number });
    return 'withdrawn';
  }

  /** A person works on the branch. */
  #hold(commit: string): PassResult {
    if (this.#heldAt !== commit) {
      this.#heldAt = commit;
      const text = `somebody pushed to the branch ${proposalsBranch}: it stays as it is until its pull request ends`;
      this.#options.log.warn('proposal_held', text, { commit });
    }
    return 'foreign';
  }

  #report(leftOut: Selected['leftOut']): void {
    const keys = new Set(leftOut.map(({ path, reason }) => `${reason} ${path}`));
    const fresh = leftOut.filter(({ path, reason }) => !this.#reported.has(`${reason} ${path}`));
    for (const { path, reason } of fresh.slice(0, mostReported)) {
      const text = reason === 'secret' ? 'may have a secret' : 'cannot be proposed';
      this.#options.log.warn('proposal_left_out', `a changed file ${text}; it is left out`, {
        path,
        why: reason,
      });
    }
    this.#reported = keys;
  }
}

function newState(repository: string, since: Date): ProposalsState {
  const lists = { proposed: [], settled: [], copies: [] };
  return { version: 1, repository, since: since.toISOString(), opening: true, ...lists };
}

/** The record of the commit on the volume; undefined while the volume changes. */
async function steadyRecord(config: InitConfig): Promise<TreeRecord | undefined> {
  const { stateDirectory, repository } = config;
  if (existsSync(join(stateDirectory, pendingFile))) return undefined;
  const read = await readTreeRecord(stateDirectory, appliedFile);
  const isUsable = read.kind === 'valid' && read.value.repository === repository.url;
  return isUsable ? read.value : undefined;
}

/** @throws BerthError if the record is damaged */
function treeIdOf({ commit_text }: TreeRecord): string {
  const text = Buffer.from(commit_text, 'base64').toString('latin1');
  const id = /^tree ([0-9a-f]{40})$/m.exec(text)?.[1];
  if (id !== undefined) return id;
  throw new BerthError(
    'volume_damaged',
    'cannot propose changes: the record of the commit is damaged; the next sync repairs it',
  );
}

function digestOf({ commit }: TreeRecord, { changes, leftOut }: Selected): string {
  const files = changes.map(({ path, oid, mode }) => [path, oid, mode]);
  const left = leftOut.map(({ path, reason }) => [path, reason]);
  return createHash('sha256')
    .update(JSON.stringify([commit, files, left]))
    .digest('hex');
}
