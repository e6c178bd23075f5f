/**
 * Checkouts with a real git, through a real gateway, from a real git server with `me/app`, and pull requests of a
 * stand-in for GitHub's API. Everything lies in the test's own directory and ends with the test.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { createSlots } from '../../../shared/slots.ts';
import { gitIn } from '../../../supervisor/claude/git.ts';
import {
  type CheckoutNeed,
  Checkouts,
  type CheckoutsOptions,
} from '../../../supervisor/workspaces/checkouts.ts';
import { GatewayClient } from '../../../supervisor/workspaces/gateway-client.ts';
import { Mirrors, type MirrorsOptions } from '../../../supervisor/workspaces/mirrors.ts';
import type { PreparedCheckout } from '../../../supervisor/workspaces/prepared-checkout.ts';
import { SpareTrees } from '../../../supervisor/workspaces/spare-trees.ts';
import type { WorkspaceOutcome } from '../../../supervisor/workspaces/turn-end.ts';
import type {
  PublishRequest,
  WorkspaceRequest,
} from '../../../supervisor/workspaces/workspace-request.ts';
import { openScene, runGit, type Scene, token } from '../../init/gateway/fixture.ts';
import { type CapturedLog, captureLog } from '../../support/captured-log.ts';
import { startGitHubApi } from '../../support/github-api.ts';
import type { PullRequests } from '../../support/github-pulls.ts';

export const author = { name: 'A Person', email: 'person@example.test' };
export const sessionId = '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11';
export const branch = 'berth/6f1c3b0e-6b0f';

type WorkshopOptions = Partial<MirrorsOptions & Pick<CheckoutsOptions, 'slots' | 'trees'>>;

export interface Workshop {
  scene: Scene;
  pulls: PullRequests;
  checkouts: Checkouts;
  mirrors: Mirrors;
  log: CapturedLog;
  root: string;
  /** What was counted. */
  counted: string[];
  /** Another one on the same disk. */
  again(options?: WorkshopOptions): Workshop;
  prepare(wanted: WorkspaceRequest, more?: Partial<CheckoutNeed>): Promise<PreparedCheckout>;
  /** Makes a checkout in a new directory. */
  make(wanted: WorkspaceRequest, more?: Partial<CheckoutNeed>): Promise<Made>;
  end(made: Made, publish?: PublishRequest, signal?: AbortSignal): Promise<WorkspaceOutcome>;
}

export interface Made {
  directory: string;
  prepared: PreparedCheckout;
  note: string;
  /** As the record of the session has it. */
  state: PreparedCheckout['state'];
  git(...args: string[]): Promise<{ code: number; text: string }>;
}

export async function openWorkshop(
  t: Test,
  options: WorkshopOptions = {},
  environment: Record<string, string> = {},
): Promise<Workshop> {
  let repository = '';
  const pulls: PullRequests = {
    get branches() {
      const heads = join(repository, 'refs/heads');
      return readdirSync(heads, { recursive: true }).map(String);
    },
    opened: [],
  };
  const api = await startGitHubApi({ repository: 'me/app', token, pulls });
  t.teardown(() => api.close());
  const scene = await openScene(t, {
    environment: { BERTH_GATEWAY_REPOS: 'me/*,other/open', ...environment },
    gateway: () => ({ githubApiUrl: api.url }),
  });
  repository = scene.app.path;
  return workshopOn(scene, pulls, options);
}

function workshopOn(scene: Scene, pulls: PullRequests, options: WorkshopOptions): Workshop {
  const log = captureLog();
  const git = options.git ?? gitIn(process.env.PATH);
  const gateway = new GatewayClient(scene.gateway.url);
  const root = join(scene.directory, 'workspace');
  const mirrors = new Mirrors({
    root: join(root, 'mirrors'),
    ...{ git, gateway, most: 5, mostBytes: 2 ** 30, timeout: 60_000, log: log.log },
    ...options,
  });
  const counted: string[] = [];
  const busy = () => new BerthError('queue_full', 'too many');
  const slots = options.slots ?? createSlots(4, 10, 60_000, busy);
  const hasRoom = () => true;
  const trees = options.trees ?? new SpareTrees({ git, most: 0, hasRoom, log: log.log });
  const checkouts = new Checkouts({
    ...{ git, gateway, mirrors, slots, trees, log: log.log, staging: join(root, 'staging') },
    onCheckout: (outcome) => counted.push(outcome),
    onPublish: (outcome) => counted.push(outcome),
  });
  const prepare: Workshop['prepare'] = async (wanted, more) => {
    const prepared = await checkouts.prepare({
      ...{ saved: undefined, directory: undefined, wanted, instructions: () => false, author },
      signal: new AbortController().signal,
      ...more,
    });
    if (!prepared) throw new Error('no checkout was needed');
    return prepared;
  };
  return {
    ...{ scene, pulls, checkouts, mirrors, log, root, counted, prepare },
    again: (more = {}) => workshopOn(scene, pulls, { ...options, ...more }),
    async make(wanted, more) {
      const prepared = await prepare(wanted, more);
      const directory = more?.directory ?? join(root, 'sessions', randomUUID());
      mkdirSync(directory, { recursive: true });
      const note = (await prepared.fill(directory)) ?? '';
      const run = (...args: string[]) => runGit(directory, args);
      return { directory, prepared, note, state: prepared.state, git: run };
    },
    async end(one, publish, signal = new AbortController().signal) {
      const { state, outcome } = await checkouts.end({
        ...{ state: one.state, directory: one.directory, sessionId, author, publish, signal },
        ...{ remade: one.prepared.remade, result: 'What was done.' },
      });
      one.state = state;
      return outcome;
    },
  };
}
