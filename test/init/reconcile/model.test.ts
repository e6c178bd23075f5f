/**
 * Random histories of a volume against the rules: upstream moves on, a person edits, runs are cut
 * short and repeated. Whatever the order, nothing that berth did not write itself is lost, nothing
 * that it wrote is taken for an edit, and the end is what the rules say.
 */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { objectId } from '../../../init/git/pack-format.ts';
import type { Tree } from '../../../init/git/tree.ts';
import { Bases, secureBases } from '../../../init/reconcile/bases.ts';
import { mergeText } from '../../../init/reconcile/merge-text.ts';
import { reconcile } from '../../../init/reconcile/worktree.ts';
import { volumeEntries } from '../../../init/volume/subdirectory.ts';
import { inspectVolume, repairVolume } from '../../../init/volume/volume.ts';
import { BerthError } from '../../../shared/errors.ts';
import { isExecutableConfiguration } from '../../../shared/executable-configuration.ts';
import { openAside } from '../../../shared/set-aside.ts';
import { testDirectory } from '../../support/directory.ts';
import { captureLog, treeOf, walk } from '../fixture.ts';

const numRuns = Number(process.env.BERTH_TEST_HISTORIES ?? 60);
const paths = ['a.md', 'd/b.md', 'd/e/c.md', 'settings.json', 'hooks/x.sh', 'd'];

type Files = Record<string, string>;

const text = fc
  .tuple(fc.nat(2), fc.nat(2))
  .map(([first, last]) => `first ${first}\n\nmiddle\n\nlast ${last}\n`);
const files = fc
  .record(Object.fromEntries(paths.map((path) => [path, fc.option(text, { freq: 3 })])))
  .map((all): Files => {
    const present = Object.entries(all).filter((entry): entry is [string, string] => !!entry[1]);
    const isFile = present.some(([path]) => path === 'd') && present.length % 2 === 0;
    return Object.fromEntries(
      present.filter(([path]) => (isFile ? !path.startsWith('d/') : path !== 'd')),
    );
  });

type Happening =
  | { kind: 'commit'; files: Files }
  | { kind: 'edit'; path: string; how: 'first' | 'last' | 'all' | 'empty' | 'delete' | 'directory' }
  | { kind: 'killed'; after: number }
  | { kind: 'run' };

const how = fc.constantFrom('first', 'last', 'all', 'empty', 'delete', 'directory');
const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ kind: fc.constant('commit'), files }),
  fc.record({ kind: fc.constant('edit'), path: fc.constantFrom(...paths), how }),
  fc.record({ kind: fc.constant('killed'), after: fc.nat(12) }),
  fc.record({ kind: fc.constant('run') }),
) as fc.Arbitrary<Happening>;

t.test('nothing is lost, and nothing of berth’s is taken for an edit', async (t) => {
  testDirectory(t);
  let count = 0;
  await fc.assert(
    fc.asyncProperty(
      files,
      fc.array(happening, { minLength: 3, maxLength: 14 }),
      async (...given) => {
        count += 1;
        await tellHistory(t, count, ...given);
      },
    ),
    { seed: 3, numRuns, endOnFailure: true },
  );
  t.pass(`${count} histories`);
});

async function tellHistory(t: Test, number: number, first: Files, happenings: Happening[]) {
  const volume = join(t.testdirName, `${number}`);
  mkdirSync(join(volume, '.berth/conflicts'), { recursive: true });
  const untracked = { 'projects/1.jsonl': 'transcript', 'd/e/mine.txt': 'mine' };
  for (const [path, content] of Object.entries(untracked)) put(volume, path, content);
  const history = new History(volume, first);
  await history.run();
  for (const [index, one] of happenings.entries()) {
    if (one.kind === 'commit') history.upstream.push(one.files);
    else if (one.kind === 'edit') history.edit(one.path, one.how, `mine ${index}`);
    else await history.run(one.kind === 'killed' ? one.after : undefined);
  }
  await history.run();
  const saved = history.saved();
  for (const [path, content] of Object.entries(untracked)) {
    const there = treeOf(volume)[path] === content;
    if (!there && !saved.includes(content)) throw new Error(`${path} is lost`);
  }
  const left = walk(volume).filter(
    (path) => path.endsWith('.tmp') || path.endsWith('pending.json'),
  );
  if (left.length > 0) throw new Error(`left behind: ${left.join()}`);
  rmSync(volume, { recursive: true });
}

interface Edit {
  mark: string;
  content: string;
  forms: Set<string>;
  /** A directory in the place of the file: damage, which does not stay. */
  isDirectory: boolean;
}

class History {
  readonly upstream: Files[];
  #volume: string;
  /** What a person's edit may have become by merging; all of them name the edit. */
  #edits = new Map<string, Edit>();
  #blobs = new Map<string, Buffer>();
  #complete = true;
  #applied: Files = {};

  constructor(volume: string, first: Files) {
    this.#volume = volume;
    this.upstream = [first];
  }

  /** A person edits only what a whole run has left: the main container starts after init. */
  edit(path: string, how: string, mark: string): void {
    const full = join(this.#volume, path);
    const before = read(full);
    if (!this.#complete || !before) return;
    rmSync(full);
    this.#edits.delete(path);
    if (how === 'delete') return;
    if (how === 'empty') {
      writeFileSync(full, '');
      return;
    }
    const content =
      how === 'first' || how === 'last'
        ? before.replace(how === 'first' ? /^.*\n/ : /.*\n$/, `${mark}\n`)
        : `${mark}\n`;
    put(this.#volume, how === 'directory' ? `${path}/inside` : path, content);
    const isDirectory = how === 'directory';
    this.#edits.set(path, { mark, content, forms: new Set([content]), isDirectory });
  }

  saved(): string[] {
    const conflicts = join(this.#volume, '.berth/conflicts');
    return walk(conflicts).map((path) => readFileSync(join(conflicts, path), 'utf8'));
  }

  /** @param killAfter so many steps that can be its last; to the end if absent */
  async run(killAfter?: number): Promise<void> {
    const target = this.upstream.at(-1) ?? {};
    this.#mergeEverything(target);
    let left = killAfter ?? Number.POSITIVE_INFINITY;
    const step = () => {
      if (left-- <= 0) throw new BerthError('internal', 'killed');
    };
    try {
      await this.#reconcile(target, step);
    } catch (error) {
      if ((error as Error).message !== 'killed') throw error;
      this.#complete = false;
      return;
    }
    this.#check(target);
    this.#complete = true;
    this.#applied = target;
  }

  async #reconcile(target: Files, step: () => void): Promise<void> {
    const wanted = {
      configDirectory: this.#volume,
      stateDirectory: join(this.#volume, '.berth'),
      repository: 'https://example.test/a/b',
      ref: undefined,
      directory: undefined,
    };
    const tree: Tree = new Map();
    for (const [path, content] of Object.entries(target)) {
      const oid = objectId('blob', Buffer.from(content));
      this.#blobs.set(oid, Buffer.from(content));
      tree.set(path, { mode: '100644', oid });
    }
    const id = objectId('commit', Buffer.from(JSON.stringify(target)));
    const readBlob = async (oid: string) => this.#blobs.get(oid) ?? Buffer.from('?');
    const aside = openAside(join(wanted.stateDirectory, 'conflicts'), 'init', step);
    const inspected = await inspectVolume(wanted);
    await repairVolume(inspected, wanted, { quarantine: aside, conflicts: aside });
    const bases = new Bases(wanted.stateDirectory);
    await secureBases(bases, volumeEntries(inspected.applied), {
      root: this.#volume,
      read: async (oid) => ({ content: await readBlob(oid) }),
    });
    await reconcile({
      ...wanted,
      ...inspected,
      localChanges: 'merge',
      invalidSettings: 'keep',
      fetchedAt: new Date(),
      commit: { id, text: Buffer.from('text'), tree },
      readBlob: async (oid) => {
        step();
        return readBlob(oid);
      },
      conflicts: aside,
      lease: { assertHeld: async () => step() },
      signal: new AbortController().signal,
      log: captureLog().log,
    });
  }

  /** Every form that the edits may take on the way to `target`, from whatever base. */
  #mergeEverything(target: Files): void {
    for (const [path, { forms }] of this.#edits) {
      for (const form of [...forms]) {
        for (const base of this.upstream) {
          const texts = [base[path], form, target[path]].map((one) => Buffer.from(one ?? ''));
          const merged = mergeText(...(texts as [Buffer, Buffer, Buffer]));
          if (merged) forms.add(merged.toString());
        }
      }
    }
  }

  #check(target: Files): void {
    const saved = this.saved();
    for (const path of paths) {
      const now = read(join(this.#volume, path));
      const want = target[path];
      const edit = this.#edits.get(path);
      if (!edit) {
        if (now !== want) throw new Error(`${path} has ${now} instead of ${want}`);
        continue;
      }
      const stays = now !== undefined && now !== want;
      if (stays && (!edit.forms.has(now) || isExecutableConfiguration(path))) {
        throw new Error(`${path} has ${now} after the edit ${edit.content}`);
      }
      const there = [...saved, ...Object.values(treeOf(this.#volume))];
      if (!stays && !there.some((one) => one.includes(edit.mark))) {
        throw new Error(`the edit ${edit.mark} of ${path} is lost`);
      }
      const untouched = this.#complete && this.#applied[path] === want && want !== undefined;
      const keeps = untouched && !isExecutableConfiguration(path) && !edit.isDirectory;
      if (keeps && now !== edit.content) throw new Error(`the edit of ${path} should have stayed`);
      if (stays) this.#edits.set(path, { ...edit, content: now, forms: new Set([now]) });
      else this.#edits.delete(path);
    }
    const conflicts = join(this.#volume, '.berth/conflicts');
    for (const path of walk(conflicts)) {
      const isOwn = !readFileSync(join(conflicts, path), 'utf8').includes('mine');
      if (isOwn) throw new Error(`berth saved its own content: ${path}`);
    }
  }
}

function read(path: string): string | undefined {
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  return isFile ? readFileSync(path, 'utf8') : undefined;
}

function put(volume: string, path: string, content: string): void {
  mkdirSync(dirname(join(volume, path)), { recursive: true });
  writeFileSync(join(volume, path), content);
}
