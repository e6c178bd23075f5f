/**
 * What reconciling will do: every path that the commit or a record names is looked at and decided on.
 * Nothing is changed here. Always holds: a path that paths.ts calls unsafe is neither looked at nor
 * named, whatever a record says.
 */
import { setImmediate } from 'node:timers/promises';
import { type Action, decide } from './decide.ts';
import { type Local, lookAt } from './local-file.ts';
import { isExecutableConfiguration, unsafePath } from './paths.ts';
import type { RecordedEntry, TreeRecord } from './record.ts';
import type { Tree, TreeEntry } from './tree.ts';

export interface PlanOptions {
  configDirectory: string;
  applied: TreeRecord | undefined;
  pending: TreeRecord | undefined;
  signal: AbortSignal;
}

export interface ReconcileCounts {
  /** Files written, for whatever reason. */
  written: number;
  /** Of these: files that were missing or damaged. */
  restored: number;
  removed: number;
  /** Local edits that stay. */
  kept: number;
  /** Local copies saved in conflicts/ because upstream took their place. */
  conflicts: number;
  /** Edits of executable configuration that upstream took the place of. */
  drift: number;
  /** Paths of the commit that are not written. */
  skipped: number;
}

export interface Step {
  path: string;
  want: TreeEntry | undefined;
  local: Local;
  action: Action;
}

/** Looks at every path that the commit or a record names, and decides. */
export async function plan(options: PlanOptions, wanted: Tree): Promise<Step[]> {
  const applied = options.applied?.entries ?? {};
  const pending = options.pending?.entries ?? {};
  const recorded = [...Object.keys(applied), ...Object.keys(pending)];
  const paths = [...new Set([...wanted.keys(), ...recorded])].filter(
    (path) => unsafePath(path) === undefined,
  );
  const steps: Step[] = [];
  for (const path of paths) {
    // A volume with very many files must not keep the lease's heartbeat waiting.
    if (steps.length % 256 === 255) await setImmediate();
    options.signal.throwIfAborted();
    const executable = isExecutableConfiguration(path);
    const want = wanted.get(path);
    // The record could be forged by what the CLI ran, so executable configuration is always read.
    const trusted = executable || options.pending ? undefined : own(applied, path);
    const local = lookAt(options.configDirectory, path, trusted);
    const action = decide({
      local,
      want,
      applied: own(applied, path),
      pending: own(pending, path),
      executable,
    });
    steps.push({ path, want, local, action });
  }
  return steps;
}

function own(entries: Record<string, RecordedEntry>, path: string): RecordedEntry | undefined {
  const entry = Object.hasOwn(entries, path) ? entries[path] : undefined;
  return entry?.mode === '160000' ? undefined : entry;
}

/** What the steps come to; what is saved or skipped, others count. */
export function count(steps: readonly Step[]): Omit<ReconcileCounts, 'conflicts' | 'skipped'> {
  const of = (test: (action: Action) => boolean) =>
    steps.filter(({ action }) => test(action)).length;
  const because = (reason: string) => (action: Action) =>
    'reason' in action && action.reason === reason;
  return {
    written: of(({ kind }) => kind === 'write'),
    restored: of(because('restored')),
    removed: of(({ kind }) => kind === 'remove'),
    kept: of(({ kind }) => kind === 'keep'),
    drift: of(because('drift')),
  };
}
