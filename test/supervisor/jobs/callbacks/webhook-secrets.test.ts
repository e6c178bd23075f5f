import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Webhook } from 'standardwebhooks';
import t from 'tap';
import { signedHeaders } from '../../../../supervisor/jobs/callbacks/sign.ts';
import {
  makeWebhookSecret,
  parseWebhookSecrets,
  WebhookSecrets,
} from '../../../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';

const body = JSON.stringify({ type: 'job.succeeded', data: { text: 'ä' } });

t.test('a receiver with the library of the specification accepts the signature', (t) => {
  const secret = makeWebhookSecret();
  const [key] = parseWebhookSecrets(`${secret}\n`, 'file');
  t.ok(key);
  const headers = signedHeaders('job_1_2', body, key ? [key] : [], Date.now());
  t.same(new Webhook(secret).verify(body, headers), JSON.parse(body));
  t.throws(() => new Webhook(secret).verify(`${body} `, headers));
  t.throws(() => new Webhook(makeWebhookSecret()).verify(body, headers));
  t.throws(() => new Webhook(secret).verify(body, { ...headers, 'webhook-id': 'job_1_3' }));
  t.end();
});

t.test('`berth token --webhook` prints a secret, and takes no name', async (t) => {
  const main = join(import.meta.dirname, '../../../../supervisor/main.ts');
  const run = (...args: string[]) =>
    promisify(execFile)(process.execPath, [main, 'token', ...args]);
  const { stdout } = await run('--webhook');
  t.match(stdout, /^whsec_\S+\n$/);
  t.equal(parseWebhookSecrets(stdout, 'file').length, 1);
  await t.rejects(run('--webhook', 'n8n'), { code: 64 });
});

t.test('with two secrets, a receiver can verify the message with either secret', (t) => {
  const secrets = [makeWebhookSecret(), makeWebhookSecret()];
  const keys = parseWebhookSecrets(`# old\n${secrets.join('\n\n')}\n`, 'file');
  const headers = signedHeaders('job_1_2', body, keys, Date.now());
  t.match(headers['webhook-signature'], /^v1,\S+ v1,\S+$/);
  for (const secret of secrets) t.ok(new Webhook(secret).verify(body, headers));
  t.end();
});

t.test('a wrong file is refused with the cause, and without the secret', (t) => {
  const bytes = (count: number) => `whsec_${Buffer.alloc(count, 7).toString('base64')}`;
  const good = bytes(24);
  const wrong: [string, RegExp][] = [
    ['', /it has 0 secrets, and one or 2 are possible/],
    [`${good}\n${good}\n${good}`, /it has 3 secrets/],
    [good.slice(6), /secret 1 is not whsec_ and the base64 of 24 to 64 bytes/],
    [`${good}\n${bytes(23)}`, /secret 2 is not whsec_/],
    [bytes(65), /secret 1/],
    ['whsec_*****', /secret 1/],
  ];
  for (const [text, cause] of wrong) {
    t.throws(() => parseWebhookSecrets(text, '/secrets/webhook'), {
      code: 'config_invalid',
      message: cause,
    });
  }
  t.throws(() => parseWebhookSecrets('', '/secrets/webhook'), {
    message: /^cannot use \/secrets\/webhook: .*; `berth token --webhook` makes one$/,
  });
  t.end();
});

t.test('a changed file counts at the next use, and a wrong file not at all', async (t) => {
  const path = join(testDirectory(t, {}), 'secret');
  const captured = captureLog();
  await t.rejects(WebhookSecrets.open(path, captured.log), { code: 'config_invalid' });
  const [first, second] = [makeWebhookSecret(), makeWebhookSecret()];
  const starts = [first, second].map((secret) => secret.slice(6, 30));
  const keysOf = (...secrets: string[]) => parseWebhookSecrets(secrets.join('\n'), '');
  await writeFile(path, first);
  const secrets = await WebhookSecrets.open(path, captured.log);
  t.same(await secrets.keys(), keysOf(first));
  await writeFile(path, `${second}\n${first}\n`);
  t.same(await secrets.keys(), keysOf(second, first));
  await writeFile(path, 'whsec_torn');
  t.same(await secrets.keys(), keysOf(second, first));
  t.same(await secrets.keys(), keysOf(second, first));
  await rm(path);
  t.same(await secrets.keys(), keysOf(second, first));
  await writeFile(path, second);
  t.same(await secrets.keys(), keysOf(second));
  const levels = captured.lines.map(({ event, level }) => `${event} ${level}`);
  const loaded = ['info', 'error', 'error', 'info'];
  t.same(
    levels,
    loaded.map((level) => `webhook_secret_loaded ${level}`),
    'each failure once',
  );
  for (const start of starts) t.notOk(captured.text.includes(start));
});
