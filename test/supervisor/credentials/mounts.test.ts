/** Logins that are mounted as single files, as `subPath` does it: real mounts, in a namespace of their own. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import type { LogLine } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { credentials } from './login-files.ts';

const login = new URL('../../../supervisor/credentials/login.ts', import.meta.url).href;
const log = new URL('../../../shared/log.ts', import.meta.url).href;

/** Root may mount; anybody else where user namespaces are allowed. */
const mayMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
const skip = mayMount ? false : 'needs a mount namespace';

/** What is said of mounts when the login is started after these shell commands. */
async function startAfter(t: Test, mounting: string): Promise<LogLine[]> {
  const directory = testDirectory(t, {
    config: { '.berth': {} },
    secret: {},
    tmpfs: {},
    start: `
      import { Login } from ${JSON.stringify(login)};
      import { createLog } from ${JSON.stringify(log)};
      const login = new Login({
        configDirectory: 'config', stateDirectory: 'config/.berth', source: 'secret/credentials.json',
        policy: 'fresher', onChange: () => {},
        log: createLog({ service: 'test', version: '0', level: 'warn', pretty: false }),
      });
      await login.start();
      await login.stop();
    `,
    'login.json': credentials('one'),
  });
  const script = `set -e
    mount -t tmpfs none tmpfs
    cp login.json tmpfs/
    ${mounting}
    exec "$0" --input-type=module -e "$(cat start)"`;
  const { stdout } = await promisify(execFile)(
    'unshare',
    ['-rm', 'sh', '-c', script, process.execPath],
    { cwd: directory },
  );
  const lines = stdout.split('\n').filter(Boolean);
  return lines
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event === 'credentials_mounted');
}

t.test(
  'a login file that is mounted by subPath is an error, with the way out',
  { skip },
  async (t) => {
    const [line, ...rest] = await startAfter(
      t,
      'touch config/.credentials.json; mount --bind tmpfs/login.json config/.credentials.json',
    );
    t.match(line, { level: 'error', path: 'config/.credentials.json' });
    t.match(line?.msg, /a refreshed login is lost; mount the whole directory, without subPath/);
    t.strictSame(rest, []);
  },
);

t.test(
  'a source that is mounted by subPath is a warning, with the way out',
  { skip },
  async (t) => {
    const [line, ...rest] = await startAfter(
      t,
      'touch secret/credentials.json; mount --bind tmpfs/login.json secret/credentials.json',
    );
    t.match(line, { level: 'warn', path: 'secret/credentials.json' });
    t.match(line?.msg, /not seen before a restart; mount the Secret as a directory/);
    t.strictSame(rest, []);
  },
);

t.test(
  'a Secret and a volume that are mounted as directories are as they should be',
  { skip },
  async (t) => {
    const mounting = 'mount --bind tmpfs secret; ln tmpfs/login.json tmpfs/credentials.json';
    t.strictSame(
      await startAfter(t, `${mounting}; mount -t tmpfs none config; mkdir config/.berth`),
      [],
    );
  },
);
