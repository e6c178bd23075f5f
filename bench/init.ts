/**
 * `npm run bench:init`: measures how long the preparation of a volume takes, with its memory and
 * transferred bytes, compared to the shell script that berth replaces and git's own shallow clone.
 * All run interleaved against one real git server. Arguments: sizes (S M LB LF; default all) and
 * `rounds=N`; by default 7 rounds for S and 3 for the others.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GitServer, startGitServer } from '../test/support/git-server.ts';
import { openRepository, type Repository } from '../test/support/repository.ts';
import { measure } from './init-measure.ts';
import { ensureRepository, type Size, shapes, smallChange } from './init-repositories.ts';
import { type Place, prepareRivals, type Rival, rivals } from './init-rivals.ts';
import { type Figure, quantile, report } from './report.ts';

type Phase = 'cold' | 'no-op' | 'update';

const token = 'bench-token-0123456789';
const phases: readonly Phase[] = ['cold', 'no-op', 'update'];
const cache = join(tmpdir(), 'berth-bench-repositories');

/** The targets of berth, relative to the script. */
const ratios: Record<Phase, Partial<Record<Size, number>>> = {
  cold: { S: 1.3, M: 1.3, LF: 2, LB: 1.2 },
  'no-op': { S: 0.35, M: 0.05, LF: 0.03, LB: 0.03 },
  update: { S: 0.65, M: 0.12, LB: 0.15 },
};
const memory: Partial<Record<Size, number>> = { S: 75, M: 180, LB: 500 };
const updateBytes = 30_000;

interface Samples {
  times: number[];
  megabytes: number;
  bytes: number;
}

async function main(): Promise<void> {
  const given = process.argv.slice(2);
  const sizes = (Object.keys(shapes) as Size[]).filter(
    (size) => given.includes(size) || !given.some((each) => each in shapes),
  );
  const rounds = Number(/rounds=(\d+)/.exec(given.join(' '))?.[1] ?? 0);
  const figures: Figure[] = [];
  await using cleanup = new AsyncDisposableStack();
  prepareRivals();
  for (const size of sizes) ensureRepository(cache, size);
  const scratch = await mkdtemp(join(tmpdir(), 'berth-bench-init-'));
  cleanup.defer(() => rm(scratch, { recursive: true, force: true }));
  const server = await startGitServer({ root: cache, token });
  cleanup.defer(() => server.close());
  for (const size of sizes) {
    figures.push(...(await compete(size, rounds || (size === 'S' ? 7 : 3), server, scratch)));
  }
  report('Preparing a volume; medians, interleaved', figures);
}

/** Runs all competitors with one repository. */
async function compete(
  size: Size,
  rounds: number,
  server: GitServer,
  scratch: string,
): Promise<Figure[]> {
  const repository = openRepository(cache, `bench/${size}`);
  const url = server.repositoryUrl(`bench/${size}`).replace(/\.git$/, '');
  const samples = new Map<string, Samples>();
  const run = async (rival: Rival, phase: Phase, round: number) => {
    const place = { url, token, scratch, volume: join(scratch, rival.name) } satisfies Place;
    if (phase === 'cold') {
      await rm(place.volume, { recursive: true, force: true });
      await mkdir(place.volume);
    }
    // The last round is only for memory, because sampling memory costs time.
    const watched = round === rounds;
    const before = server.bytesSent;
    const { milliseconds, megabytes } = await measure(rival.command(place), watched);
    const key = `${rival.name} ${phase}`;
    const found = samples.get(key) ?? { times: [], megabytes: 0, bytes: 0 };
    if (watched) found.megabytes = megabytes;
    else found.times.push(milliseconds);
    found.bytes = server.bytesSent - before;
    samples.set(key, found);
  };
  for (let round = 0; round <= rounds; round++) {
    for (const phase of phases) {
      if (phase === 'update') change(repository);
      for (const rival of rotated(rivals, round)) await run(rival, phase, round);
    }
    if (process.stderr.isTTY)
      process.stderr.write(`\r${size}: round ${round + 1} of ${rounds + 1}  `);
  }
  if (process.stderr.isTTY) process.stderr.write('\n');
  return phases.flatMap((phase) => figuresOf(size, phase, samples));
}

function change(repository: Repository): void {
  repository.commit(smallChange(Date.now()));
}

function figuresOf(size: Size, phase: Phase, samples: ReadonlyMap<string, Samples>): Figure[] {
  const of = (rival: string) =>
    samples.get(`${rival} ${phase}`) ?? { times: [], megabytes: 0, bytes: 0 };
  const median = (rival: string) => quantile(of(rival).times, 0.5);
  const name = `${size} ${phase}`;
  return [
    ...rivals.map(({ name: rival }) => ({
      name: `${name}, ${rival}`,
      value: median(rival),
      unit: 'ms',
    })),
    {
      name: `${name}, berth / script`,
      value: median('berth') / median('script'),
      unit: '',
      ...target(ratios[phase][size]),
    },
    { name: `${name}, git / script`, value: median('git') / median('script'), unit: '' },
    {
      name: `${name}, peak memory of berth`,
      value: of('berth').megabytes,
      unit: 'MB',
      ...target(memory[size]),
    },
    { name: `${name}, peak memory of git`, value: of('git').megabytes, unit: 'MB' },
    {
      name: `${name}, received by berth`,
      value: of('berth').bytes / 1000,
      unit: 'kB',
      ...target(phase === 'update' ? updateBytes / 1000 : undefined),
    },
    { name: `${name}, received by git`, value: of('git').bytes / 1000, unit: 'kB' },
  ];
}

function target(value: number | undefined): { target?: number } {
  return value === undefined ? {} : { target: value };
}

/** Returns the same competitors, each round with another one first. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

await main();
