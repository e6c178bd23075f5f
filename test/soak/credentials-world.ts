/**
 * What a login lives in: the login server, the model's API that lets in who shows a token of it, a git
 * server, Kubernetes with berth's own Secret, and the Secret of a person, mounted as the kubelet does.
 * Invariants: nothing of it knows which pod runs, so berth and the old script meet the same world.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mountAccount } from '../supervisor/write-back/fixture.ts';
import { startGitServer } from '../support/git-server.ts';
import { type KubernetesApi, startKubernetesApi } from '../support/kubernetes-api.ts';
import { type LoginServer, startLoginServer, type TokenRequest } from '../support/login-server.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { createRepository } from '../support/repository.ts';

/** The CLI refreshes a token five minutes before it ends: so it is due after this time, in ms. */
export const dueAfter = 2_000;

/** berth's own Secret, and the namespace that it is in. */
export const secret = { namespace: 'berth', name: 'berth-live', key: 'credentials.json' };

export interface World {
  directory: string;
  login: LoginServer;
  messages: MessagesApi;
  kubernetes: KubernetesApi;
  /** The directory of the service account that may write berth's Secret. */
  account: string;
  /** Of the repository, without `.git`. */
  repositoryUrl: string;
  /** Milliseconds that the login server's clock goes before this machine's. */
  skew: number;
  /** Told of each refresh, and again just before it is answered. */
  onRequest: (request: TokenRequest) => void;
  /** A person logs in and puts the file into the Secret. @returns the login's number */
  logIn(): number;
  /** Puts any text into the person's Secret; without one, what it had before. */
  provide(text?: string): void;
  /** The mounted file of the person's Secret. */
  readonly source: string;
  /** Mounts berth's own Secret as it is now, for a pod that starts. @returns the file's path */
  mountLive(): string;
  close(): Promise<void>;
}

/**
 * @param directory an empty one, for everything that is made
 * @param options.settings what the repository's settings.json has
 * @param options.lifetime milliseconds that a login's first access token lives
 * @param options.refreshed the same of those that it is refreshed to
 */
export async function openWorld(
  directory: string,
  options: { settings?: string; lifetime?: number; refreshed?: number } = {},
): Promise<World> {
  const { settings = '{}\n', lifetime = 5 * 60_000 + dueAfter, refreshed = lifetime } = options;
  const root = join(directory, 'repositories');
  createRepository(root, 'me/claude', { 'CLAUDE.md': '# me\n', 'settings.json': settings });
  const git = await startGitServer({ root });
  const messages = await startMessagesApi();
  const kubernetes = await startKubernetesApi();
  kubernetes.allow(`${secret.namespace}/${secret.name}`, ['get', 'patch']);
  kubernetes.secrets.put(secret.namespace, secret.name, {});
  const login = await startLoginServer({
    now: () => Date.now() + world.skew,
    onRequest: (request) => world.onRequest(request),
  });
  messages.reply(({ headers }) => {
    const shown = String(headers.authorization ?? '').replace(/^Bearer /, '');
    return login.logins.admits(shown) ? undefined : { status: 401, text: 'Invalid bearer token' };
  });
  const account = join(directory, 'account');
  mountAccount(account, kubernetes);
  const mounted = join(directory, 'source');
  mkdirSync(mounted);
  let serial = 0;
  let provided = '';
  const world: World = {
    ...{ account, directory, login, messages, kubernetes, skew: 0, onRequest: () => {} },
    repositoryUrl: git.repositoryUrl('me/claude').replace(/\.git$/, ''),
    source: join(mounted, secret.key),
    logIn() {
      const file = JSON.parse(login.login({ lifetime, refreshed }));
      // Whoever logs in has the clock of this machine.
      file.claudeAiOauth.expiresAt -= world.skew;
      provided = JSON.stringify(file);
      this.provide();
      return login.logins.all.length;
    },
    provide(text = provided) {
      serial += 1;
      mkdirSync(join(mounted, `..${serial}`));
      writeFileSync(join(mounted, `..${serial}`, secret.key), text);
      symlinkSync(`..${serial}`, join(mounted, '..data_tmp'));
      renameSync(join(mounted, '..data_tmp'), join(mounted, '..data'));
      if (serial === 1) symlinkSync(`..data/${secret.key}`, this.source);
      else rmSync(join(mounted, `..${serial - 1}`), { recursive: true });
    },
    mountLive() {
      const live = join(directory, 'live');
      rmSync(live, { recursive: true, force: true });
      mkdirSync(live);
      for (const [name, text] of Object.entries(liveSecret(world))) {
        writeFileSync(join(live, name), text);
      }
      return join(live, secret.key);
    },
    async close() {
      await Promise.all([git, messages, kubernetes, login].map((server) => server.close()));
    },
  };
  return world;
}

/** What berth's own Secret holds; nothing if it is not there. */
export function liveSecret({ kubernetes }: World): Record<string, string> {
  try {
    const { data = {} } = kubernetes.secrets.get(secret.namespace, secret.name);
    const entries = Object.entries(data);
    return Object.fromEntries(
      entries.map(([name, value]) => [name, Buffer.from(value, 'base64').toString('utf8')]),
    );
  } catch {
    return {};
  }
}

/** The refresh token in a credentials file's text; undefined if it has none. */
export function refreshTokenIn(text: string | undefined): string | undefined {
  try {
    return JSON.parse(text ?? '').claudeAiOauth.refreshToken || undefined;
  } catch {
    return undefined;
  }
}

/** @returns undefined if the file cannot be read */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
