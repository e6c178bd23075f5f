/**
 * The situations in which berth-init is killed: a volume without anything, one that gets an update,
 * one that is damaged. Each is made on a real volume and a real repository; a seed decides how.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { FileSpec, Repository } from '../support/repository.ts';
import type { Random } from './random.ts';

export type Situation = 'cold' | 'update' | 'repair';
export const situations: readonly Situation[] = ['cold', 'update', 'repair'];

/** Each holds for one volume; `wanted` is what it must have in the end. */
export interface Scene {
  volume: string;
  repository: Repository;
  /** What upstream has now. */
  upstream: Map<string, string>;
  /** What the CLI made: must be the same for ever. */
  untracked: Map<string, string>;
  /** The line that a person put on top of notes.md. */
  edit: string;
}

const notes = (generation: number) => `notes\n\nkept\n\ngeneration ${generation}\n`;
const settings = (generation: number) => `{"generation":${generation}}\n`;

export function firstFiles(): Record<string, string> {
  const docs = Array.from({ length: 30 }, (_, index) => [
    `docs/${index % 4}/${index}.md`,
    `${index}\n`,
  ]);
  return { 'notes.md': notes(0), 'settings.json': settings(0), ...Object.fromEntries(docs) };
}

export function makeUntracked(volume: string): Map<string, string> {
  const untracked = new Map([
    ['todos/1.json', '{"mine":true}'],
    ['projects/-workspace/1.jsonl', 'transcript\n'.repeat(500)],
    ['docs/mine.txt', 'mine'],
    ['history.jsonl', 'history'],
  ]);
  for (const [path, content] of untracked) put(volume, path, content);
  return untracked;
}

/** Brings the volume of a complete run into the situation; `cold` starts anew. */
export function enter(
  situation: Situation,
  scene: Scene,
  generation: number,
  random: Random,
): void {
  if (situation === 'cold') {
    rmSync(scene.volume, { recursive: true });
    mkdirSync(scene.volume);
    makeUntracked(scene.volume);
    scene.edit = '';
    return;
  }
  edit(scene, generation);
  if (situation === 'update') update(scene, generation, random);
  else
    for (let count = 1 + random.below(3); count > 0; count--) random.pick(damages)(scene, random);
}

function edit(scene: Scene, generation: number): void {
  const path = join(scene.volume, 'notes.md');
  const text = readFileSync(path, 'utf8');
  scene.edit = `mine ${generation}\n`;
  writeFileSync(path, scene.edit + text.slice(text.indexOf('\n') + 1));
}

function update(scene: Scene, generation: number, random: Random): void {
  const { upstream, repository } = scene;
  const changes: Record<string, FileSpec | null> = {};
  const set = (path: string, content: string | null) => {
    changes[path] = content;
    if (content === null) upstream.delete(path);
    else upstream.set(path, content);
  };
  set('settings.json', settings(generation));
  if (random.below(2)) set('notes.md', notes(generation));
  for (let count = 1 + random.below(8); count > 0; count--) {
    const path = random.pick([...upstream.keys()].filter((one) => one.startsWith('docs/')));
    if (upstream.size > 20 && random.below(4) === 0) set(path, null);
    else set(path, `generation ${generation}, ${random.below(1e9)}\n`);
  }
  set(`docs/${random.below(4)}/new-${generation}.md`, `new in ${generation}\n`);
  // A file becomes a directory, and the other way round.
  const swapped = upstream.has('swap');
  if (swapped) set('swap', null);
  else if (upstream.has('swap/inside.md')) set('swap/inside.md', null);
  repository.commit(changes);
  for (const path of Object.keys(changes)) delete changes[path];
  set(swapped ? 'swap/inside.md' : 'swap', `${generation}\n`);
  repository.commit(changes);
}

type Damage = (scene: Scene, random: Random) => void;

/** What is wrong with a volume after a crash of a node, a careless person or a bad disk. */
const damages: Damage[] = [
  (scene, random) => rmSync(trackedFile(scene, random), { force: true }),
  (scene, random) => {
    const path = trackedFile(scene, random);
    if (existsSync(path)) truncateSync(path);
  },
  ({ volume }) => rmSync(join(volume, 'docs/1'), { recursive: true, force: true }),
  ({ volume }) => {
    rmSync(join(volume, 'docs/2'), { recursive: true, force: true });
    symlinkSync('../projects', join(volume, 'docs/2'));
  },
  (scene, random) => {
    const path = trackedFile(scene, random);
    rmSync(path, { force: true });
    mkdirSync(path, { recursive: true });
  },
  ({ volume }) => rmSync(join(volume, '.berth/git'), { recursive: true, force: true }),
  ({ volume }) => {
    for (const pack of packs(volume)) truncateSync(pack, 20);
    rmSync(join(volume, 'settings.json'), { force: true });
  },
  ({ volume }) => {
    for (const pack of packs(volume)) rmSync(pack, { force: true });
    rmSync(join(volume, 'settings.json'), { force: true });
  },
  ({ volume }) => {
    const config = join(volume, '.berth/git/config');
    if (existsSync(config)) writeFileSync(config, '\0garbage');
  },
  ({ volume }) => rmSync(join(volume, '.berth/report.json'), { force: true }),
  ({ volume }) => {
    const applied = join(volume, '.berth/applied.json');
    if (existsSync(applied)) cpSync(applied, join(volume, '.berth/pending.json'));
  },
];

/** Any tracked file but the edited one, where it should lie. */
function trackedFile({ volume, upstream }: Scene, random: Random): string {
  const path = random.pick([...upstream.keys()].filter((one) => /^docs\/[03]/.test(one)));
  return join(volume, path);
}

function packs(volume: string): string[] {
  const directory = join(volume, '.berth/git/objects/pack');
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith('.pack'))
    .map((name) => join(directory, name));
}

function put(volume: string, path: string, content: string): void {
  mkdirSync(dirname(join(volume, path)), { recursive: true });
  writeFileSync(join(volume, path), content);
}

/** What must be on the volume, whatever happened on the way. */
export function expected({ upstream, untracked, edit: line }: Scene): Record<string, string> {
  const tree = new Map([...upstream, ...untracked]);
  const text = upstream.get('notes.md') ?? '';
  if (line !== '') tree.set('notes.md', line + text.slice(text.indexOf('\n') + 1));
  return Object.fromEntries([...tree].sort(([a], [b]) => (a < b ? -1 : 1)));
}
