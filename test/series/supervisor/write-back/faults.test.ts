/** What the API server, the mounts and the volume can do to write-back. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { WriteBackFailure } from '../../../../supervisor/write-back/api-failure.ts';
import { SecretApi } from '../../../../supervisor/write-back/secret-api.ts';
import {
  login,
  openShore,
  type Shore,
  secretName,
  sourceOf,
} from '../../../supervisor/write-back/fixture.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { until } from '../../../support/until.ts';

t.jobs = 4;

const tls = join(import.meta.dirname, '../../../support/fixtures/tls');

interface Fault {
  begin(shore: Shore): void;
  end(shore: Shore): void;
  reason: string;
  /** What the log says of cause and remedy. */
  says: RegExp;
  level?: string;
  /** Milliseconds for one call. */
  timeout?: number;
}

const answers = (status: number) => ({
  begin: ({ api }: Shore) => api.fault({ kind: 'status', status }),
  end: ({ api }: Shore) => api.fault(undefined),
});

/** As the kubelet brings a new version: the product never reads half a file. */
function bring(path: string, content: string | Buffer): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

const faults: Record<string, Fault> = {
  'a server that fails': { ...answers(500), reason: 'server_error', says: /answers 500/ },
  'a server that wants peace': { ...answers(429), reason: 'throttled', says: /answers 429/ },
  'a conflict each time': { ...answers(409), reason: 'conflict', says: /another program changes/ },
  'an immutable Secret': {
    ...answers(422),
    reason: 'refused',
    says: /immutable, and create it again/,
  },
  'a connection that breaks': {
    begin: ({ api }) => api.fault({ kind: 'drop' }),
    end: ({ api }) => api.fault(undefined),
    reason: 'unreachable',
    says: /cannot be reached/,
  },
  'a server that hangs': {
    begin: ({ api }) => api.fault({ kind: 'hang' }),
    end: ({ api }) => api.fault(undefined),
    reason: 'timeout',
    says: /did not answer within 0.5 s/,
    timeout: 500,
  },
  'a Role without patch': {
    begin: ({ api }) => api.allow('berth/berth-live', ['get']),
    end: ({ api }) => api.allow('berth/berth-live', ['get', 'patch']),
    reason: 'forbidden',
    says: /the verb patch: a Role in the namespace berth .* resourceNames \[berth-live\]/,
    level: 'error',
  },
  'a Role without get': {
    begin: ({ api }) => api.allow('berth/berth-live', []),
    end: ({ api }) => api.allow('berth/berth-live', ['get', 'patch']),
    reason: 'forbidden',
    says: /grant the service account the verb get/,
    level: 'error',
  },
  'a token that has ended': {
    begin: ({ api }) => api.renewToken('another-service-account-token'),
    // The kubelet brings the new one into the same place.
    end: ({ api, account }) => bring(join(account, 'token'), api.token),
    reason: 'unauthorized',
    says: /mount a projected serviceAccountToken/,
    level: 'error',
  },
  'no token': {
    begin: ({ account }) => renameSync(join(account, 'token'), join(account, 'away')),
    end: ({ account }) => renameSync(join(account, 'away'), join(account, 'token')),
    reason: 'account',
    says: /token cannot be read: it does not exist; mount/,
    level: 'error',
  },
  'another CA': {
    begin: ({ account }) => copyFileSync(join(tls, 'login-server/ca.pem'), join(account, 'ca.crt')),
    end: ({ account }) => bring(join(account, 'ca.crt'), readFileSync(join(tls, 'ca.pem'))),
    reason: 'tls',
    says: /cannot be trusted .* kube-root-ca.crt/,
    level: 'error',
  },
  'a CA that is none': {
    begin: ({ account }) =>
      writeFileSync(
        join(account, 'ca.crt'),
        '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n',
      ),
    end: ({ account }) => bring(join(account, 'ca.crt'), readFileSync(join(tls, 'ca.pem'))),
    reason: 'tls',
    says: /cannot be trusted/,
    level: 'error',
  },
};

for (const [name, fault] of Object.entries(faults)) {
  const { begin, end, reason, says, level = 'warn', timeout } = fault;
  t.test(
    `${name}: the failure is logged, counted and retried until a write succeeds`,
    async (t) => {
      const shore = await openShore(t);
      begin(shore);
      shore.write(login('one'));
      shore.begin({}, timeout);
      const line = await shore.log.logged('write_back_failed');
      t.match(line, { reason, msg: says, level });
      const counted = `berth_write_back_failures_total{reason="${reason}"}`;
      await until('it has failed again', async () => (await shore.metric(counted)) >= 3);
      t.equal(await shore.metric('berth_write_back_pending'), 1);
      t.equal(await shore.metric('berth_write_back_success_timestamp_seconds'), 0);
      end(shore);
      await shore.arrives(login('one'));
      await shore.log.logged('write_back_recovered');
      const told = shore.log.lines.filter(
        (each) => each.event === 'write_back_failed' && each.level !== 'debug',
      );
      t.equal(told.length, 1);
      t.notMatch(shore.log.text, /made-up|service-account-token/);
    },
  );
}

t.test('an unreachable API is logged as a warning', async (t) => {
  const shore = await openShore(t);
  shore.write(login('one'));
  await shore.api.close();
  shore.begin();
  t.match(await shore.log.logged('write_back_failed'), { reason: 'unreachable', level: 'warn' });
});

const malformed = {
  'no JSON': 'not json at all',
  'a login of text': 'null',
  'a list': '[]',
  'tokens that are none': JSON.stringify({ claudeAiOauth: { accessToken: 1 } }),
  'more than a login has': `${' '.repeat(70_000)}${login('b', 16)}`,
};

for (const [name, content] of Object.entries(malformed)) {
  t.test(`a Secret that holds ${name} gets the login`, async (t) => {
    const shore = await openShore(t, {
      'credentials.json': content,
      'source-digest': 'x'.repeat(99),
    });
    shore.note(sourceOf('source'));
    shore.write(login('one'));
    shore.begin();
    await shore.arrives(login('one'));
    t.equal(shore.live('source-digest'), sourceOf('source'));
    t.match(await shore.log.logged('credentials_unreadable'), { from: 'live' });
  });
}

t.test('no base64 in the Secret, and no data at all, are no login either', async (t) => {
  const shore = await openShore(t);
  const secret = shore.api.secrets.get('berth', 'berth-live');
  secret.data = { 'credentials.json': '\u00ff***' };
  shore.write(login('one'));
  shore.begin();
  await shore.arrives(login('one'));
  const another = await openShore(t);
  delete another.api.secrets.get('berth', 'berth-live').data;
  another.write(login('one'));
  another.begin();
  await another.arrives(login('one'));
});

/** One answer of something that is no API server. */
async function answering(t: Test, timeout: number, reply: (write: (text: string) => void) => void) {
  const shore = await openShore(t);
  const file = (name: string) => readFileSync(join(tls, name));
  const server = createServer(
    { key: file('server.key'), cert: file('server.pem') },
    (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      reply((text) => void response.write(text));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const api = new SecretApi({
    ...{ host: '127.0.0.1', port, accountDirectory: shore.account, timeout },
    secret: secretName,
  });
  return api.get(new AbortController().signal).then(
    () => t.fail('it was taken'),
    (error: unknown) => (error instanceof WriteBackFailure ? error.reason : error),
  );
}

t.test(
  'a slow answer, an endless answer and an answer without a Secret are failures',
  async (t) => {
    const forever = (write: (text: string) => void, text: string, every: number) => {
      const timer = setInterval(() => write(text), every);
      t.teardown(() => clearInterval(timer));
    };
    t.equal(await answering(t, 300, (write) => forever(write, ' ', 20)), 'timeout');
    t.equal(await answering(t, 30_000, (write) => write(' '.repeat(5 * 1024 ** 2))), 'malformed');
    const shore = await openShore(t);
    shore.api.fault({ kind: 'status', status: 200 });
    shore.begin();
    t.match(await shore.log.logged('write_back_failed'), { reason: 'malformed' });
  },
);

const hostile: Record<string, (path: string) => void> = {
  'a symlink to a login': (path) => {
    writeFileSync(`${path}.real`, login('planted', 24));
    symlinkSync(`${path}.real`, path);
  },
  'a file of 1 GB': (path) => {
    writeFileSync(path, login('planted', 24));
    truncateSync(path, 1024 ** 3);
  },
  'a FIFO': (path) => void execFileSync('mkfifo', [path]),
  'a directory': (path) => mkdirSync(path),
  'brackets without end': (path) => writeFileSync(path, '['.repeat(65_536)),
  'a login with a token that breaks a line': (path) =>
    writeFileSync(path, login('planted', 24, { accessToken: 'a\n"b' })),
  'scopes of another kind': (path) =>
    writeFileSync(path, login('planted', 24, { scopes: [`x${' '.repeat(9)}`] })),
  'a prototype': (path) =>
    writeFileSync(path, '{"claudeAiOauth":{"__proto__":{"accessToken":"a","expiresAt":9}}}'),
};

for (const [name, plant] of Object.entries(hostile)) {
  t.test(`${name} on the volume: nothing is written, and a warning is logged`, async (t) => {
    const shore = await openShore(t);
    const path = join(shore.config, '.credentials.json');
    plant(path);
    shore.begin();
    const line = await shore.log.logged('credentials_unreadable');
    t.match(line, { level: 'warn', from: 'volume', msg: /cannot write the login back/ });
    t.ok((await shore.metric('berth_write_back_failures_total{reason="volume"}')) > 0);
    rmSync(path, { recursive: true });
    shore.write(login('good'));
    await shore.arrives(login('good'));
    t.equal(shore.patches(), 1);
  });
}

t.test('rubbish in the state is ignored; a newer format or a symlink is not', async (t) => {
  const shore = await openShore(t);
  const state = join(shore.config, '.berth');
  shore.write(login('one'));
  writeFileSync(join(state, 'credentials.json'), 'x'.repeat(9_000));
  writeFileSync(join(state, 'login-history.json'), '{"version":1,"superseded":"all"}');
  shore.begin();
  await shore.arrives(login('one'));
  t.equal(shore.live('source-digest'), undefined);

  writeFileSync(join(state, 'credentials.json'), '{"version":2}');
  shore.write(login('two', 16));
  t.match(await shore.log.logged('credentials_unreadable'), { msg: /run the newer version/ });
  t.equal(shore.live(), login('one'));

  renameSync(state, `${state}-away`);
  symlinkSync(`${state}-away`, state);
  await shore.log.logged('credentials_unreadable', ({ msg }) => /is not a directory/.test(msg));
  rmSync(state);
  await shore.arrives(login('two', 16));
});

t.test('a full or read-only volume can still be read', { skip: cannotMount }, async (t) => {
  const shore = await openShore(t);
  using volume = mountSmall(shore.config, 'size=64k');
  mkdirSync(join(shore.config, '.berth'));
  shore.note(sourceOf('source'));
  shore.write(login('one'));
  t.throws(() => writeFileSync(join(shore.config, 'filler'), Buffer.alloc(128 * 1024)), {
    code: 'ENOSPC',
  });
  volume.mount('remount,ro');
  const writing = shore.begin();
  await shore.arrives(login('one'));
  t.equal(shore.live('source-digest'), sourceOf('source'));
  t.equal(await writing.stop(), true);
});
