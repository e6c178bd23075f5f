import fc from 'fast-check';
import t from 'tap';
import { BerthError } from '../../../../shared/errors.ts';
import { AllowedHosts } from '../../../../supervisor/jobs/callbacks/allowed-hosts.ts';
import { parseCallbackUrl } from '../../../../supervisor/jobs/callbacks/callback-url.ts';
import { checkCallback } from '../../../../supervisor/jobs/callbacks/check-callback.ts';

const hosts = AllowedHosts.parse('n8n');
const at =
  (...addresses: string[]) =>
  async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

async function refusal(url: string, resolve = at('10.0.0.1'), allowed = hosts): Promise<string> {
  try {
    await checkCallback(url, allowed, resolve);
  } catch (error) {
    if (error instanceof BerthError && error.code === 'invalid_request') return error.message;
    throw error;
  }
  throw new Error(`${url} was accepted`);
}

t.test('path and query of a URL are kept byte for byte', (t) => {
  const paths = [
    ...[
      '/',
      '/a/../b/./c',
      '/a//b',
      '/%7E~%2f%2F',
      '/?a=b&a=%zz',
      "/webhook-waiting/7?s='a'|^`{}\"<>",
    ],
    ...['/a?b?c/d\\e', '/;a=b,c:@!$*()', '/a%00'],
  ];
  for (const path of paths) t.equal(parseCallbackUrl(`http://n8n:5678${path}`).path, path);
  t.equal(parseCallbackUrl('http://n8n?a=b').path, '/?a=b');
  t.equal(parseCallbackUrl('HTTPS://n8n#part').path, '/');
  t.equal(parseCallbackUrl('http://n8n/a?b#part?c').path, '/a?b');
  t.match(parseCallbackUrl('HTTPS://N8N:443/'), { tls: true, port: 443, authority: 'n8n' });
  t.match(parseCallbackUrl('http://[::1]:81/'), { host: '::1', port: 81, authority: '[::1]:81' });
  t.end();
});

t.test('the host that is checked is the host of every URL parser', (t) => {
  const noise = fc.constantFrom(
    '/',
    '?',
    '#',
    '\\',
    '@',
    ':',
    '.',
    ' ',
    '\t',
    '%2f',
    'evil',
    'n8n',
    '[',
    ']',
  );
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 8 }), (parts) => {
      const text = `http://n8n${parts.join('')}`;
      try {
        const { authority, path } = parseCallbackUrl(text);
        const parsed = new URL(text);
        return (
          parsed.host === authority &&
          text.slice('http://'.length).toLowerCase().startsWith(authority) &&
          new URL(`http://n8n${path}`).pathname === parsed.pathname
        );
      } catch (error) {
        return error instanceof BerthError;
      }
    }),
  );
  t.end();
});

t.test('a URL that cannot be sent as it is gets a clear refusal', async (t) => {
  t.match(await refusal('n8n/a'), /not an absolute http or https URL/);
  t.match(await refusal('file:///etc/passwd'), /not an absolute http or https URL/);
  t.match(await refusal('http:n8n/'), /not an absolute http or https URL/);
  t.match(await refusal('http:///n8n'), /not an absolute http or https URL/);
  t.match(await refusal('http://n8n:99999/'), /not an absolute http or https URL/);
  t.match(await refusal(`http://n8n/${'a'.repeat(4_096)}`), /longer than 4096 characters/);
  for (const text of [
    'http://n8n\\@evil/',
    'http://n8n/\\evil',
    'http://n8n/a b',
    'http://n8n/ä',
    'http://n8n/\ta',
    'http://n8n/a\n',
  ]) {
    t.match(await refusal(text), /characters that a URL must encode/, JSON.stringify(text));
  }
  const secret = await refusal('http://me:pa55@n8n/hidden');
  t.match(secret, /a user name or a password/);
  t.notMatch(secret, /pa55|hidden/);
});

t.test('a host that is not listed is refused with the setting, and without the path', async (t) => {
  const message = await refusal('http://evil:81/hidden');
  t.equal(
    message,
    'cannot accept callback_url: callbacks to evil:81 are not allowed; add the host to BERTH_CALLBACK_HOSTS',
  );
  t.match(
    await refusal('http://n8n/', at(), AllowedHosts.parse('')),
    /this server sends no callbacks; add the host to BERTH_CALLBACK_HOSTS/,
  );
});

t.test('a listed name with only special addresses is refused with the setting', async (t) => {
  for (const address of ['127.0.0.1', '169.254.169.254', '::1', 'fe80::1', '::ffff:127.0.0.1']) {
    const message = await refusal('http://n8n/hidden', at(address));
    t.match(message, `n8n is at ${address}, which is no ordinary address`);
    t.match(message, /BERTH_CALLBACK_HOSTS/);
    t.notMatch(message, /hidden/);
  }
  t.match(await checkCallback('http://n8n/', hosts, at('127.0.0.1', '10.0.0.1')), { host: 'n8n' });
  const listed = AllowedHosts.parse('n8n,127.0.0.0/8');
  t.match(await checkCallback('http://n8n/', listed, at('127.0.0.1')), { host: 'n8n' });
});

t.test('a name server that fails does not refuse a listed host', async (t) => {
  const fails = async () => {
    throw Object.assign(new Error('getaddrinfo EAI_AGAIN n8n'), { code: 'EAI_AGAIN' });
  };
  t.match(await checkCallback('http://n8n/', hosts, fails), { host: 'n8n' });
  t.match(await checkCallback('http://n8n/', hosts, undefined), { host: 'n8n' }, 'by a proxy');
});
