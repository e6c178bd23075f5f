/**
 * The competitors of `bench:init`: the shell script that berth replaces, git's own shallow clone,
 * and berth's bundle. Each writes the same repository to its own volume.
 */
import { cpSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageArguments, takeSnapshot } from '../scripts/bundle-init.ts';
import { gitEnvironment } from '../test/support/repository.ts';
import type { Command } from './init-measure.ts';

export interface Rival {
  name: 'script' | 'git' | 'berth';
  /** The command of every start, whatever is on the volume. */
  command(place: Place): Command;
}

export interface Place {
  /** The URL with the login in it, as in the script. */
  url: string;
  token: string;
  volume: string;
  /** A directory for files that do not belong on the volume. */
  scratch: string;
}

/**
 * Clones the whole repository, empties the volume, copies, and changes the owner, at every start.
 */
const script = `
set -e
rm -rf "$SCRATCH/clone"
git clone --quiet "$LOGIN_URL" "$SCRATCH/clone"
find "$VOLUME" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
cp -a "$SCRATCH/clone/." "$VOLUME/"
rm -rf "$VOLUME/.git"
chown -R 1000:1000 "$VOLUME"
`;

/** The minimum with git alone; its git directory stays on the volume. */
const shallow = `
set -e
if [ -d "$VOLUME/.git" ]; then
  git -C "$VOLUME" fetch --quiet --depth 1 origin main
  git -C "$VOLUME" reset --quiet --hard FETCH_HEAD
else
  git clone --quiet --depth 1 "$LOGIN_URL" "$VOLUME"
fi
`;

const root = join(import.meta.dirname, '..');

/** The variables, flags and snapshot of Dockerfile.init. */
const imageEnvironment = { MALLOC_ARENA_MAX: '1' };

const bundles = join(tmpdir(), `berth-bench-bundles-${process.pid}`);

/** Runs the steps of the image build once, with a private copy of the bundle. */
export function prepareRivals(): void {
  cpSync(join(root, 'dist'), bundles, { recursive: true });
  process.once('exit', () => rmSync(bundles, { recursive: true, force: true }));
  takeSnapshot(bundles);
}

export const rivals: readonly Rival[] = [
  { name: 'script', command: (place) => shell(script, place) },
  { name: 'git', command: (place) => shell(shallow, place) },
  {
    name: 'berth',
    command: ({ url, token, volume, scratch }) => ({
      file: process.execPath,
      arguments: imageArguments(bundles),
      environment: {
        ...imageEnvironment,
        PATH: process.env.PATH ?? '',
        BERTH_REPO: url,
        BERTH_GIT_TOKEN: token,
        BERTH_CONFIG_DIR: volume,
        BERTH_CREDENTIALS_SOURCE: join(scratch, 'credentials.json'),
        BERTH_TERMINATION_LOG: join(scratch, 'termination-log'),
        BERTH_TIMEOUT: '10m',
      },
    }),
  },
];

function shell(text: string, { url, token, volume, scratch }: Place): Command {
  return {
    file: 'sh',
    arguments: ['-c', text],
    environment: {
      ...gitEnvironment(),
      LOGIN_URL: url.replace('://', `://oauth2:${token}@`),
      VOLUME: volume,
      SCRATCH: scratch,
    },
  };
}
