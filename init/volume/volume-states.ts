/**
 * The possible states of a volume, each with its repair and its exit code of `berth-init --check`.
 * docs/init.md has the same table.
 */

interface StateKind {
  means: string;
  /** The action of a run, besides reconciling, which is the same in every state. */
  repair: string;
  /** The exit code of `--check`: below 10 only if nothing is needed, above 63 if no run can repair the state. */
  exit: number;
}

export const volumeStates = {
  complete: {
    means: 'the volume has a whole state of this repository, ref and directory',
    repair: 'nothing, or writes the changes of upstream',
    exit: 0,
  },
  empty: {
    means: 'the volume has no files yet',
    repair: 'writes everything',
    exit: 10,
  },
  foreign: {
    means: 'the volume has files but no record of berth, for example files of the old script',
    repair:
      'saves and replaces tracked files that differ; other files stay; a `.git` is saved without its login',
    exit: 11,
  },
  interrupted: {
    means: 'an earlier run was interrupted',
    repair: 'removes the temporary files of that run and finishes its work',
    exit: 12,
  },
  other_repository: {
    means: 'the volume has another repository',
    repair: 'removes the files of that repository, saves edited files; drops the fetched objects',
    exit: 13,
  },
  other_ref: {
    means: 'the volume has another ref or directory of this repository',
    repair: 'fetches the objects again',
    exit: 14,
  },
  damaged_record: {
    means: 'a record cannot be read',
    repair: 'moves the record to quarantine; then as `foreign`',
    exit: 15,
  },
  damaged_git_directory: {
    means: 'the fetched objects are torn, forged or incomplete',
    repair: 'moves the objects to quarantine and fetches them again',
    exit: 16,
  },
  damaged_tree: {
    means:
      'tracked files are missing, empty or of another type, or executable configuration is edited',
    repair: 'restores the files; saves the earlier content',
    exit: 17,
  },
  newer_format: {
    means: 'a newer berth wrote the volume',
    repair: 'none: the volume stays unchanged; run that newer version',
    exit: 65,
  },
} as const satisfies Record<string, StateKind>;

export type VolumeState = keyof typeof volumeStates;
