/** A volume, a live Secret in a stand-in for the Kubernetes API, and write-back between them. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { digestOf } from '../../../shared/digest.ts';
import { createWriteBackMetrics } from '../../../supervisor/write-back/metrics.ts';
import { SecretApi } from '../../../supervisor/write-back/secret-api.ts';
import { type Timing, WriteBack } from '../../../supervisor/write-back/write-back.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { type KubernetesApi, startKubernetesApi } from '../../support/kubernetes-api.ts';
import { until } from '../../support/until.ts';

export const minute = 60_000;
export const hour = 60 * minute;

/** A login file as the CLI writes it, whose access token ends in so many hours. */
export function login(id: string, hours = 8, rest: object = {}): string {
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `sk-ant-oat01-made-up-access-${id}`,
      refreshToken: `sk-ant-ort01-made-up-refresh-${id}`,
      expiresAt: start + hours * hour,
      scopes: ['user:inference', 'user:profile'],
      subscriptionType: 'max',
      ...rest,
    },
  });
}

const start = Date.now();

/** Names a login in the history. */
export const idOf = (id: string): string =>
  digestOf(`sk-ant-ort01-made-up-refresh-${id}`).slice(0, 12);

export const blank = login('x', 0, { accessToken: '', refreshToken: '', expiresAt: 0 });

/** The digest that the volume remembers of a source with this text. */
export const sourceOf = (text: string): string => digestOf(text);

export const secretName = { namespace: 'berth', name: 'berth-live' };

/** Mounts a service account as a pod has it. */
export function mountAccount(directory: string, { token, ca }: KubernetesApi): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'token'), `${token}\n`);
  writeFileSync(join(directory, 'ca.crt'), readFileSync(ca));
  writeFileSync(join(directory, 'namespace'), 'berth');
}

export interface Shore {
  api: KubernetesApi;
  config: string;
  account: string;
  log: ReturnType<typeof captureLog>;
  /** A new one on the same volume and Secret; it is stopped with the test. */
  begin(timing?: Partial<Timing>, timeout?: number): WriteBack;
  /** As the CLI writes: a new file that is renamed into place. */
  write(text: string): void;
  /** What the supervisor or init notes of the source, and of earlier logins. */
  note(source: string | undefined, history?: Record<string, string[]>): void;
  /** The text of a key of the live Secret. */
  live(key?: string): string | undefined;
  /** Waits until the live Secret has this login. */
  arrives(text: string): Promise<unknown>;
  patches(): number;
  /** A figure of a metric, by its line without the number. */
  metric(name: string): Promise<number>;
}

export async function openShore(t: Test, values: Record<string, string> = {}): Promise<Shore> {
  const directory = testDirectory(t, { volume: { '.berth': {} }, account: {} });
  const config = join(directory, 'volume');
  const account = join(directory, 'account');
  const api = await startKubernetesApi();
  t.teardown(() => api.close());
  mountAccount(account, api);
  api.secrets.put('berth', 'berth-live', values);
  api.allow('berth/berth-live', ['get', 'patch']);
  const log = captureLog();
  const path = join(config, '.credentials.json');
  let registry: ReturnType<typeof createWriteBackMetrics>['registry'] | undefined;

  return {
    ...{ api, config, account, log },
    begin(timing = {}, timeout = 5_000) {
      const { hostname, port } = new URL(api.url);
      const metrics = createWriteBackMetrics(() => writing.pending);
      registry = metrics.registry;
      const writing = new WriteBack({
        ...{ configDirectory: config, stateDirectory: join(config, '.berth'), log: log.log },
        observer: metrics.observer,
        api: new SecretApi({
          ...{ host: hostname, port: Number(port), accountDirectory: account, timeout },
          secret: secretName,
        }),
        timing: {
          look: 50,
          settle: 5,
          spacing: 5,
          reconsider: 20,
          retry: { first: 5, longest: 40, jitter: 0.5 },
          ...timing,
        },
      });
      const running = writing.run();
      t.teardown(async () => {
        await writing.stop(AbortSignal.abort());
        await running;
      });
      return writing;
    },
    write(text) {
      writeFileSync(`${path}.tmp.0123abcd`, text, { mode: 0o600 });
      renameSync(`${path}.tmp.0123abcd`, path);
    },
    note(source, history) {
      const state = join(config, '.berth');
      if (source !== undefined) {
        const memory = JSON.stringify({ version: 1, source_digest: source });
        writeFileSync(join(state, 'credentials.json'), memory);
      }
      if (history) {
        const lists = { superseded: [], refused: [], put_back: [], ...history };
        writeFileSync(
          join(state, 'login-history.json'),
          JSON.stringify({ version: 1, ...lists, since: {} }),
        );
      }
    },
    live: (key = 'credentials.json') => readKey(api, key),
    arrives: (text) => until('it is written back', () => readKey(api, 'credentials.json') === text),
    patches: () => api.requests.filter(({ method }) => method === 'PATCH').length,
    async metric(name) {
      const text = (await registry?.metrics()) ?? '';
      const line = text.split('\n').find((each) => each.startsWith(`${name} `));
      return Number(line?.split(' ').at(-1));
    },
  };
}

function readKey(api: KubernetesApi, key: string): string | undefined {
  const value = api.secrets.get('berth', 'berth-live').data?.[key];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}
