import { createHmac } from 'node:crypto';
import t from 'tap';
import { Deliveries } from '../../../init/sync/deliveries.ts';

const secret = 'a-secret-of-the-webhook';
const body = (fields: Record<string, unknown>) => Buffer.from(JSON.stringify(fields));
const sign = (content: Buffer, key = secret) =>
  createHmac('sha256', key).update(content).digest('hex');
const pushed = (ref = 'refs/heads/main', more: Record<string, unknown> = {}) =>
  body({ ref, repository: { default_branch: 'main' }, ...more });
const github = (content: Buffer, key?: string) => ({
  headers: { 'x-github-event': 'push', 'x-hub-signature-256': `sha256=${sign(content, key)}` },
  body: content,
});
const judge = (delivery: Parameters<Deliveries['judge']>[0], ref?: string) =>
  new Deliveries().judge(delivery, secret, ref);

t.test('a signed push of GitHub, Gitea and Forgejo and one with the token of GitLab count', (t) => {
  const content = pushed();
  t.equal(judge(github(content)), 'push');
  for (const name of ['gitea', 'forgejo']) {
    const headers = { [`x-${name}-event`]: 'push', [`x-${name}-signature`]: sign(content) };
    t.equal(judge({ headers, body: content }), 'push', name);
  }
  const headers = { 'x-gitlab-event': 'Push Hook', 'x-gitlab-token': secret };
  const project = body({ ref: 'refs/heads/main', project: { default_branch: 'main' } });
  t.equal(judge({ headers, body: project }), 'push');
  t.end();
});

t.test('a wrong signature, a wrong token and none at all are refused', (t) => {
  const content = pushed();
  t.equal(judge(github(content, 'another-secret')), 'forged');
  t.equal(judge({ headers: { 'x-gitlab-token': 'wrong' }, body: content }), 'forged');
  t.equal(judge({ headers: { 'x-github-event': 'push' }, body: content }), 'forged');
  const { headers } = github(content);
  t.equal(judge({ headers, body: pushed('refs/heads/other') }), 'forged', 'another body');
  t.end();
});

t.test('a wrong signature is not outweighed by a token', (t) => {
  const content = pushed();
  const { headers } = github(content, 'another-secret');
  t.equal(judge({ headers: { ...headers, 'x-gitlab-token': secret }, body: content }), 'forged');
  t.end();
});

t.test('a push to another ref and another event are genuine and do nothing', (t) => {
  t.equal(judge(github(pushed('refs/heads/topic'))), 'other');
  t.equal(judge(github(pushed('refs/heads/topic')), 'topic'), 'push');
  t.equal(judge(github(pushed('refs/tags/v1')), 'v1'), 'push');
  const content = pushed();
  const { headers } = github(content);
  t.equal(judge({ headers: { ...headers, 'x-github-event': 'ping' }, body: content }), 'other');
  t.equal(judge(github(Buffer.from('no json'))), 'other');
  t.end();
});

t.test('the JSON of a push may come in a form', (t) => {
  const content = Buffer.from(new URLSearchParams({ payload: pushed().toString() }).toString());
  const { headers } = github(content);
  const form = { ...headers, 'content-type': 'application/x-www-form-urlencoded' };
  t.equal(judge({ headers: form, body: content }), 'push');
  t.end();
});

t.test('a repeated body is recognised even with a new delivery id', (t) => {
  const deliveries = new Deliveries();
  const delivery = github(pushed());
  const again = { ...delivery, headers: { ...delivery.headers, 'x-github-delivery': 'new-id' } };
  t.equal(deliveries.judge(delivery, secret, undefined), 'push');
  t.equal(deliveries.judge(again, secret, undefined), 'repeated');
  t.end();
});
