/** A part of a settings.json that the CLI would ignore. */
export interface SettingsProblem {
  /** `permissions.deny.1`; empty for the file as a whole. */
  path: string;
  /** The problem. */
  message: string;
  /**
   * What the CLI ignores because of the problem: the whole file, a guard in it, or a part that
   * guards nothing.
   */
  loses: 'all' | 'guard' | 'part';
}
