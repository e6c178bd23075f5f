import { readFileSync } from 'node:fs';
import { CoreV1Api, KubeConfig, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node';
import t, { type Test } from 'tap';
import { type KubernetesApi, startKubernetesApi } from '../support/kubernetes-api.ts';

t.jobs = 4;

const where = { namespace: 'berth', name: 'berth-live' };

async function start(t: Test) {
  const api = await startKubernetesApi();
  t.teardown(() => api.close());
  api.secrets.put('berth', 'berth-live', { key: 'one' });
  api.allow('berth/berth-live', ['get', 'patch']);
  return { api, client: officialClient(api) };
}

/** As a pod's own service account would be configured. */
function officialClient({ url, token, ca }: KubernetesApi, shown = token): CoreV1Api {
  const config = new KubeConfig();
  const caData = readFileSync(ca).toString('base64');
  config.loadFromOptions({
    clusters: [{ name: 'stand-in', server: url, caData }],
    users: [{ name: 'berth', token: shown }],
    contexts: [{ name: 'stand-in', cluster: 'stand-in', user: 'berth' }],
    currentContext: 'stand-in',
  });
  return config.makeApiClient(CoreV1Api);
}

const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

t.test('the official client reads a Secret, and changes it by a patch', async (t) => {
  const { client } = await start(t);
  const found = await client.readNamespacedSecret(where);
  t.equal(found.data?.key, base64('one'));
  const { resourceVersion } = found.metadata ?? {};
  const body = { metadata: { resourceVersion }, data: { key: base64('two') } };
  const patched = await client.patchNamespacedSecret({ ...where, body }, merge);
  t.equal(patched.data?.key, base64('two'));
  t.not(patched.metadata?.resourceVersion, resourceVersion);
  t.equal((await client.readNamespacedSecret(where)).data?.key, base64('two'));
});

t.test(
  'a patch with an old version is a conflict; a patch without a change keeps the version',
  async (t) => {
    const { client } = await start(t);
    const { metadata } = await client.readNamespacedSecret(where);
    const { resourceVersion } = metadata ?? {};
    const same = await client.patchNamespacedSecret(
      { ...where, body: { metadata: { resourceVersion }, data: { key: base64('one') } } },
      merge,
    );
    t.equal(same.metadata?.resourceVersion, resourceVersion);
    await client.patchNamespacedSecret({ ...where, body: { data: { key: base64('two') } } }, merge);
    const late = { metadata: { resourceVersion }, data: { key: base64('three') } };
    await t.rejects(client.patchNamespacedSecret({ ...where, body: late }, merge), { code: 409 });
  },
);

t.test('a missing permission, an unknown token and a missing Secret are refused', async (t) => {
  const { api, client } = await start(t);
  api.secrets.put('berth', 'berth-git', { token: 'x' });
  await t.rejects(client.readNamespacedSecret({ namespace: 'berth', name: 'berth-git' }), {
    code: 403,
  });
  await t.rejects(officialClient(api, 'another').readNamespacedSecret(where), { code: 401 });
  api.secrets.delete('berth', 'berth-live');
  await t.rejects(client.readNamespacedSecret(where), { code: 404 });
  api.allow('berth/berth-live', ['get']);
  await t.rejects(client.patchNamespacedSecret({ ...where, body: {} }, merge), { code: 403 });
});

t.test('a value that is no base64 is refused, and a null takes a key away', async (t) => {
  const { api, client } = await start(t);
  const bad = client.patchNamespacedSecret({ ...where, body: { data: { key: '*' } } }, merge);
  await t.rejects(bad, { code: 400 });
  await client.patchNamespacedSecret({ ...where, body: { data: { key: null } } }, merge);
  t.same(api.secrets.get('berth', 'berth-live').data, {});
});

t.test('a fault occurs as many times as requested', async (t) => {
  const { api, client } = await start(t);
  api.fault({ kind: 'status', status: 503, times: 1 });
  await t.rejects(client.readNamespacedSecret(where), { code: 503 });
  await client.readNamespacedSecret(where);
  api.fault({ kind: 'drop', method: 'PATCH', carriedOut: true, times: 1 });
  const body = { data: { key: base64('kept') } };
  await t.rejects(client.patchNamespacedSecret({ ...where, body }, merge));
  t.equal(api.secrets.get('berth', 'berth-live').data?.key, base64('kept'));
});

t.test('a client that does not know the CA does not get in', async (t) => {
  const { api } = await start(t);
  await t.rejects(fetch(`${api.url}/api/v1/namespaces/berth/secrets/berth-live`));
  t.same(api.requests, []);
});
