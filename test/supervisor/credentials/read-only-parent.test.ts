/**
 * The CLI's own locks where the volume's parent cannot be written: processes of another uid, as in a
 * container, that meet an expired token at once. The lock beside the directory is not possible there.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import { cliEnvironment } from '../../../supervisor/claude/environment.ts';
import { canChangeUser } from '../../init/process.ts';
import { realClaude } from '../../support/claude.ts';
import { startLoginServer } from '../../support/login-server.ts';
import { startMessagesApi } from '../../support/messages-api.ts';

const skip = canChangeUser ? false : 'needs root and setpriv';
const user = 1_000;

t.test(
  'several processes refresh once where the parent of the volume is read-only',
  { skip },
  async (t) => {
    const root = mkdtempSync(join(tmpdir(), 'berth-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    const parent = join(root, 'parent');
    const config = join(parent, 'config');
    const [home, workspace] = [join(root, 'home'), join(root, 'workspace')];
    for (const directory of [parent, config, home, workspace]) mkdirSync(directory);
    const server = await startLoginServer();
    t.teardown(() => server.close());
    const api = await startMessagesApi();
    t.teardown(() => api.close());
    api.reply(({ headers }) => {
      const shown = `${headers.authorization}`.replace(/^Bearer /, '');
      return server.logins.admits(shown)
        ? undefined
        : { status: 401, text: 'Invalid bearer token' };
    });
    const path = join(config, '.credentials.json');
    writeFileSync(path, server.login({ lifetime: -60_000, refreshed: 3_600_000 }), { mode: 0o600 });
    writeFileSync(join(config, '.claude.json'), '{}');
    for (const each of [config, home, workspace, path, join(config, '.claude.json')]) {
      chownSync(each, user, user);
    }
    chmodSync(root, 0o755);
    chmodSync(parent, 0o555);

    const ask = async (serial: number): Promise<string> => {
      const inherited = {
        ...{ PATH: process.env.PATH, HOME: home, TMPDIR: home, ANTHROPIC_BASE_URL: api.url },
        ...server.environment,
      };
      const common = ['--reuid', `${user}`, '--regid', `${user}`, '--clear-groups'];
      const child = spawn('setpriv', [...common, realClaude, '-p', '[[say hello]]'], {
        cwd: workspace,
        env: cliEnvironment(inherited, config, `worker-${serial}`),
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      return (await text(child.stdout)).trim();
    };
    t.same(await Promise.all([1, 2, 3, 4].map(ask)), ['hello', 'hello', 'hello', 'hello']);
    t.same(
      server.requests.map(({ outcome }) => outcome),
      ['refreshed'],
    );
    t.match(server.logins.all, [{ revoked: undefined, refreshes: 1 }]);
    t.equal(judgeCredentials(readFileSync(path)).kind, 'valid');
  },
);
