/**
 * Kills berth-init with SIGKILL at instants that a seed decides, in each of the situations, and runs
 * it again: that run must end complete, with what the CLI made untouched and nothing left over.
 * Half of the kills strike at a counted change of the file system, half at a moment in time.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { treeOf, walk } from '../init/fixture.ts';
import { startGitServer } from '../support/git-server.ts';
import { createRepository } from '../support/repository.ts';
import {
  enter,
  expected,
  firstFiles,
  makeUntracked,
  type Scene,
  type Situation,
  situations,
} from './init-situations.ts';
import { Random } from './random.ts';

/** As the image has it; `npm run build` makes it. Starting from the sources would take most of the time. */
const program = join(import.meta.dirname, '../../dist/berth-init.cjs');
const preload = new URL('../support/kill-at-change.ts', import.meta.url).href;

export interface Round {
  situation: Situation;
  by: 'change' | 'time';
  /** False if the run was over before its kill came. */
  killed: boolean;
  /** How the next run found the volume, and how long it took in milliseconds. */
  found: string;
  took: number;
  /** What is wrong afterwards; empty if all is well. */
  problems: string[];
}

/**
 * @param options.directory an empty one, for everything that is made
 * @param options.onRound called after each kill and the run after it
 */
export async function killRepeatedly(options: {
  directory: string;
  kills: number;
  seed: number;
  onRound: (round: Round) => void;
}): Promise<void> {
  const { directory, kills, seed, onRound } = options;
  const random = new Random(seed);
  const root = join(directory, 'repositories');
  const files = firstFiles();
  const repository = createRepository(root, 'me/claude', files);
  const server = await startGitServer({ root });
  try {
    const volume = join(directory, 'volume');
    mkdirSync(volume);
    const untracked = makeUntracked(volume);
    const scene: Scene = {
      volume,
      repository,
      upstream: new Map(Object.entries(files)),
      untracked,
      edit: '',
    };
    const url = server.repositoryUrl('me/claude').replace(/\.git$/, '');
    const init = (extra: Record<string, string>) => start(environment(volume, url, extra));
    // An undisturbed run of each situation says how many changes it makes and how long it takes.
    const usual = {} as Record<Situation, { changes: number; time: number }>;
    for (const [index, situation] of situations.entries()) {
      enter(situation, scene, -1 - index, random);
      const counter = join(directory, 'changes');
      const { time } = await init({ COUNT_CHANGES_TO: counter }).ended;
      usual[situation] = { changes: Number(readFileSync(counter, 'utf8')), time };
    }
    for (let kill = 0; kill < kills; kill++) {
      const situation = situations[kill % situations.length] as Situation;
      enter(situation, scene, kill + 1, random);
      const by = kill % 2 === 0 ? 'change' : 'time';
      const { changes, time } = usual[situation];
      const at = random.next();
      const running = init(
        by === 'change' ? { KILL_AT_CHANGE: `${Math.floor(at * changes)}` } : {},
      );
      if (by === 'time') {
        await Promise.race([delay(at * time), running.ended]);
        running.kill();
      }
      const { killed } = await running.ended;
      const next = await init({}).ended;
      onRound({
        situation,
        by,
        killed,
        found: next.found,
        took: next.time,
        problems: check(scene, next),
      });
    }
  } finally {
    await server.close();
  }
}

function environment(volume: string, url: string, extra: Record<string, string>) {
  return {
    PATH: process.env.PATH ?? '',
    BERTH_REPO: url,
    BERTH_CONFIG_DIR: volume,
    BERTH_TERMINATION_LOG: join(volume, '../termination-log'),
    // The dead one's lease must not cost ten seconds each time.
    BERTH_LEASE_EXPIRY: '200ms',
    NODE_COMPILE_CACHE: join(volume, '../compile-cache'),
    ...extra,
  };
}

interface Ended {
  killed: boolean;
  code: number | null;
  /** How the run found the volume. */
  found: string;
  conflicts: number;
  time: number;
  output: string;
}

function start(env: Record<string, string>) {
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', preload, program], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const all = Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)]);
  const ended = all.then(([[code, signal], stdout, stderr]): Ended => {
    const line = stdout.split('\n').find((one) => one.includes('"event":"report"'));
    const report = line ? JSON.parse(line) : {};
    const { volume: found = 'none', conflicts = 0 } = report;
    const time = performance.now() - started;
    return { killed: signal === 'SIGKILL', code, found, conflicts, time, output: stdout + stderr };
  });
  return { kill: () => void child.kill('SIGKILL'), ended };
}

function check(scene: Scene, { code, output }: Ended): string[] {
  const problems: string[] = [];
  if (code !== 0) problems.push(`it ended with ${code}: ${output.slice(-2_000)}`);
  const tree = treeOf(scene.volume);
  const wanted = expected(scene);
  if (!isDeepStrictEqual(tree, wanted)) {
    const paths = [...new Set([...Object.keys(tree), ...Object.keys(wanted)])];
    const wrong = paths.filter((path) => tree[path] !== wanted[path]);
    problems.push(...wrong.map((path) => `${path}: ${tree[path]} instead of ${wanted[path]}`));
  }
  const left = walk(scene.volume).filter((path) =>
    /\.tmp$|\/tmp-|lease\.json|pending\.json|\.aside-/.test(
      path.replace(/^\.berth\/quarantine\/.*/, ''),
    ),
  );
  if (left.length > 0) problems.push(`left over: ${left.join()}`);
  return problems;
}
