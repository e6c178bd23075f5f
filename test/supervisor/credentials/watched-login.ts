/** A login file in a directory of its own, under the supervisor's watch. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { lastGoodFile } from '../../../shared/state-directory.ts';
import { refreshLock } from '../../../supervisor/claude/locks.ts';
import type { CredentialsState } from '../../../supervisor/credentials/login-file.ts';
import {
  CredentialsWatch,
  type CredentialsWatchOptions,
} from '../../../supervisor/credentials/watch.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

/**
 * Starts a watch that is stopped after the test.
 * @param files by their paths below the configuration directory
 */
export async function watchLogin(
  t: Test,
  files: Record<string, string> = {},
  options: Partial<CredentialsWatchOptions> = {},
) {
  t.teardown(() => {});
  const config = t.testdir({ '.berth': {} });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(config, name), content);
  const path = join(config, '.credentials.json');
  const kept = join(config, '.berth', lastGoodFile);
  const states: CredentialsState['kind'][] = [];
  const events: string[] = [];
  const log = captureLog();
  const make = (): CredentialsWatch =>
    new CredentialsWatch({
      configDirectory: config,
      stateDirectory: join(config, '.berth'),
      log: log.log,
      onChange: ({ kind }) => states.push(kind),
      onEvent: (event) => events.push(event),
      ...{ settle: 5, patience: 30, refreshPatience: 20 },
      ...options,
    });
  const watch = make();
  t.teardown(() => watch.stop());
  await watch.start();
  return {
    watch,
    /** Another watch on the same files, not started. */
    again: make,
    path,
    states,
    events,
    log,
    lock: join(config, refreshLock),
    kept,
    lastGood: () => (existsSync(kept) ? readFileSync(kept, 'utf8') : undefined),
    file: () => readFileSync(path, 'utf8'),
    becomes: (kind: string) => until(`it is ${kind}`, () => watch.state.kind === kind),
    /** As the CLI writes: a new file that is renamed into place. */
    replace(content: string) {
      writeFileSync(`${path}.tmp.0123abcd`, content, { mode: 0o600 });
      renameSync(`${path}.tmp.0123abcd`, path);
    },
  };
}
