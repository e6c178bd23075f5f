/** What the CLI would ignore of a settings.json. */
export interface SettingsProblem {
  /** `permissions.deny.1`; empty for the file as a whole. */
  path: string;
  /** What is wrong with it. */
  message: string;
  /** What the CLI ignores for it: the whole file, a guard in it, or something that guards nothing. */
  loses: 'all' | 'guard' | 'part';
}
