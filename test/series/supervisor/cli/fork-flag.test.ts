import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ForkFlag } from '../../../../supervisor/cli/fork-flag.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { realClaude } from '../../../support/claude.ts';
import { testDirectory } from '../../../support/directory.ts';

const signal = AbortSignal.timeout(60_000);
const config = { inherited: { PATH: String(process.env.PATH), HOME: '/nonexistent' } };

t.test('the CLI of today can fork at a message', async (t) => {
  const { log } = captureLog();
  const flag = new ForkFlag({ config, cli: () => ({ path: realClaude, version: '2.1.330' }), log });
  t.equal(flag.known, undefined);
  t.equal(await flag.has(signal), true);
  t.equal(flag.known, true);
});

t.test('a CLI without the flag is queried once and logged once', async (t) => {
  const directory = testDirectory(t, {});
  const path = join(directory, 'claude');
  const calls = join(directory, 'calls');
  const script = (end: string) =>
    writeFileSync(path, `#!/bin/sh\necho "$@" >> '${calls}'\n${end}\n`, { mode: 0o755 });
  const captured = captureLog();
  const { log } = captured;
  const flag = new ForkFlag({ config, cli: () => ({ path, version: '2.1.331' }), log });
  script('kill -9 $$');
  t.equal(await flag.has(signal), true, 'a CLI that was killed has said nothing');
  t.equal(flag.known, undefined);
  script(`echo "error: unknown option '$2'" >&2; exit 1`);
  t.same(await Promise.all([flag.has(signal), flag.has(signal)]), [false, false]);
  t.equal(await flag.has(signal), false);
  t.equal(captured.text.match(/cannot fork a session/g)?.length, 1);
});
