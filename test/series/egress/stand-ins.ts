/** GitHub, its API, npm's registry, the model's API and both token hosts, at port 443 of their names, with a test CA. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { cliTarball, settingsFor, startTarballServer } from '../../support/cli-tarball.ts';
import { startGitServer } from '../../support/git-server.ts';
import { startGitHubApi } from '../../support/github-api.ts';
import { Logins } from '../../support/login-server/logins.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { createRepository } from '../../support/repository.ts';

const fixtures = join(import.meta.dirname, '../../support/fixtures/tls/egress');

export const certificateAuthority = join(fixtures, 'ca.pem');
export const repository = 'you/dot-claude';
export const gitToken = 'made-up-token';

const tarballPath = '/@anthropic-ai/claude-code-linux-x64/-/claude-code-linux-x64-2.1.322.tgz';

export interface StandIns {
  /** A login whose access token is over. */
  expiredLogin: string;
  /** Settings of a CLI that the registry has, and of one before it that a loopback server has. */
  cli: Record<'wanted' | 'earlier', Record<string, string>>;
  close(): Promise<void>;
}

export async function startStandIns(
  addresses: ReadonlyMap<string, string>,
  directory: string,
): Promise<StandIns> {
  const root = join(directory, 'repositories');
  createRepository(root, repository, { 'CLAUDE.md': 'Answer in plain words.\n' });
  const git = await startGitServer({ root, token: gitToken });
  const github = await startGitHubApi({ repository, token: gitToken });
  const model = await startMessagesApi();
  const tarballs = await startTarballServer({ teardown() {} });
  const [wanted, earlier] = [cliTarball('2.1.322'), cliTarball('2.1.321')];
  tarballs.files.set(tarballPath, wanted).set('/earlier.tgz', earlier);
  const logins = new Logins(Date.now);
  model.reply(({ headers }) => {
    const shown = String(headers.authorization ?? '').replace(/^Bearer /, '');
    return logins.admits(shown) ? undefined : { status: 401, text: 'Invalid bearer token' };
  });
  const token = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (incoming.method !== 'POST') return void outgoing.writeHead(404).end();
    const { refresh_token: shown } = JSON.parse(await readText(incoming));
    const answer = logins.refresh(shown);
    outgoing.writeHead(answer ? 200 : 400, { 'content-type': 'application/json' });
    outgoing.end(JSON.stringify(answer ?? { error: 'invalid_grant' }));
  };
  const serves: Record<string, typeof token | string> = {
    'github.com': git.url,
    'api.github.com': github.url,
    'registry.npmjs.org': tarballs.url,
    'api.anthropic.com': model.url,
    'platform.claude.com': token,
    'console.anthropic.com': token,
  };
  const servers = await Promise.all(
    [...addresses].map(async ([name, address]) => {
      const target = serves[name];
      const server = createServer({
        key: readFileSync(join(fixtures, 'server.key')),
        cert: readFileSync(join(fixtures, 'server.pem')),
      });
      server.on('request', (incoming: IncomingMessage, outgoing: ServerResponse) => {
        if (typeof target === 'string') return forward(target, incoming, outgoing);
        if (target) return void target(incoming, outgoing).catch(() => outgoing.destroy());
        outgoing.end('this host answers, to whoever reaches it');
      });
      server.listen(443, address);
      await once(server, 'listening');
      return server;
    }),
  );
  return {
    expiredLogin: logins.begin({ lifetime: -60_000, refreshed: 3_600_000 }),
    cli: {
      wanted: settingsFor(`https://registry.npmjs.org${tarballPath}`, wanted),
      earlier: settingsFor(`${tarballs.url}/earlier.tgz`, earlier),
    },
    async close() {
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
      tarballs.close();
      await Promise.all([git.close(), github.close(), model.close()]);
    },
  };
}

function forward(target: string, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { method, headers, url } = incoming;
  const onward = request(`${target}${url}`, { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
    answer.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
}
