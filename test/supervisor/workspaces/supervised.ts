/** A supervisor with the scripted CLI whose prompts get checkouts, through a real gateway. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { bashAllowed, surroundingsIn } from '../../support/claude.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { type RunningSupervisor, startSupervisor } from '../../support/supervisor.ts';
import { openWorkshop, type Workshop } from './fixture.ts';

export const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;

/** The fields of a prompt that gets a checkout of `me/app`. */
export const code = { profile: 'code', workspace: { repo: 'me/app' } };

export interface Setting extends RunningSupervisor {
  workshop: Workshop;
  /** The next one on the same folders; this one stops. */
  again: () => Promise<Setting>;
}

/**
 * The profiles `default`, `code` and `narrow`; only `code` may publish.
 * @param settingsIn the settings, by the directory of the test
 */
export async function openSupervised(
  t: Test,
  settingsIn: (directory: string) => Record<string, string> = () => ({}),
): Promise<Setting> {
  const workshop = await openWorkshop(t);
  const settings = settingsIn(workshop.scene.directory);
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  // A test has one directory.
  const first = surroundingsIn(join(workshop.scene.directory, 'berth'), api);
  writeFileSync(join(first.config, 'settings.json'), bashAllowed);
  const file = join(workshop.scene.directory, 'profiles.yaml');
  const rules = '{repos: [me/app], publish: true, author: {name: A, email: a@example.test}}';
  writeFileSync(
    file,
    `profiles:
  default: {working_directory: session}
  code: {warm: 1, workspaces: ${rules}}
  narrow: {workspaces: {repos: ["me/*"], default: {repo: me/app}}}
`,
  );
  const own = {
    BERTH_PROFILES_FILE: file,
    BERTH_GATEWAY_URL: workshop.scene.gateway.url,
    ...settings,
  };
  const started = await startSupervisor(t, { settings: own, surroundings: first });
  const withAgain = (one: RunningSupervisor): Setting => ({
    ...one,
    get url() {
      return one.url;
    },
    workshop,
    again: async () => {
      await one.supervisor.stop();
      const { surroundings } = one;
      return withAgain(await startSupervisor(t, { settings: own, surroundings }));
    },
  });
  return withAgain(started);
}
