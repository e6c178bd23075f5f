/**
 * The possible states of a volume, each with its repair and its exit code of `berth-init --check`.
 * docs/init.md has the same table.
 */

interface StateKind {
  means: string;
  /** What a run does about the state, besides reconciling, which is the same in every state. */
  repair: string;
  /** Of `--check`: below 10 only if nothing is needed, above 63 if no run can repair it. */
  exit: number;
}

export const volumeStates = {
  complete: {
    means: 'a whole state of this repository, ref and directory is on it',
    repair: 'nothing, or what upstream changed',
    exit: 0,
  },
  empty: {
    means: 'nothing is on it yet',
    repair: 'everything is written',
    exit: 10,
  },
  foreign: {
    means: 'it has files but no record of berth, such as the old script leaves them',
    repair:
      'tracked files that differ are saved and replaced, others stay; a `.git` is saved without its login',
    exit: 11,
  },
  interrupted: {
    means: 'a run was cut short',
    repair: 'its temporary files go and its work is finished',
    exit: 12,
  },
  other_repository: {
    means: 'it holds another repository',
    repair: "that one's files go, edited ones are saved; its objects are dropped",
    exit: 13,
  },
  other_ref: {
    means: 'it holds another ref or directory of this repository',
    repair: 'the objects are fetched afresh',
    exit: 14,
  },
  damaged_record: {
    means: 'a record cannot be read',
    repair: 'it goes to quarantine; then as `foreign`',
    exit: 15,
  },
  damaged_git_directory: {
    means: 'the fetched objects are torn, planted or incomplete',
    repair: 'they go to quarantine and are fetched again',
    exit: 16,
  },
  damaged_tree: {
    means:
      'tracked files are missing, empty or of another type, or executable configuration is edited',
    repair: 'they are restored; what was there is saved',
    exit: 17,
  },
  newer_format: {
    means: 'a newer berth wrote it',
    repair: 'none: it is left as it is; run that berth',
    exit: 65,
  },
} as const satisfies Record<string, StateKind>;

export type VolumeState = keyof typeof volumeStates;
