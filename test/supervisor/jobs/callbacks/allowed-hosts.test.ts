import fc from 'fast-check';
import t from 'tap';
import { isSpecial } from '../../../../supervisor/jobs/callbacks/addresses.ts';
import { AllowedHosts, allowedHosts } from '../../../../supervisor/jobs/callbacks/allowed-hosts.ts';
import { parseCallbackUrl } from '../../../../supervisor/jobs/callbacks/callback-url.ts';

/** Whether the host of the URL is allowed, and the address too if the host is an address. */
function allows(setting: string, url: string): boolean {
  const { host, port } = parseCallbackUrl(url);
  return AllowedHosts.parse(setting).allows(host, port);
}

t.test('a name is allowed as it is listed, on every port', (t) => {
  const urls = ['http://n8n.n8n.svc:5678/a', 'https://N8N.n8n.SVC/', 'http://n8n.n8n.svc./'];
  for (const url of urls) t.ok(allows('other, N8n.n8n.svc.', url), url);
  for (const url of ['http://n8n.svc/', 'http://a.n8n.n8n.svc/', 'http://n8n.n8n.svc.evil/']) {
    t.notOk(allows('n8n.n8n.svc', url), url);
  }
  t.end();
});

t.test('a suffix allows names below it at any depth, and not itself', (t) => {
  for (const url of ['http://a.example.com/', 'http://a.b.EXAMPLE.com./']) {
    t.ok(allows('*.example.com', url), url);
  }
  for (const url of ['http://example.com/', 'http://aexample.com/', 'http://a.example.com.evil/']) {
    t.notOk(allows('*.example.com', url), url);
  }
  t.end();
});

t.test('an entry with a port allows this port only', (t) => {
  t.ok(allows('n8n:5678', 'http://n8n:5678/'));
  t.notOk(allows('n8n:5678', 'http://n8n:9200/'));
  t.ok(allows('*.example.com:443', 'https://a.example.com/'));
  t.notOk(allows('*.example.com:443', 'http://a.example.com/'));
  t.ok(allows('10.0.0.0/8:80', 'http://10.1.2.3/'));
  t.notOk(allows('10.0.0.0/8:80', 'https://10.1.2.3/'));
  t.ok(allows('[fd00::/8]:80', 'http://[fd00::1]/'));
  t.notOk(allows('[fd00::/8]:80', 'http://[fd00::1]:81/'));
  t.end();
});

t.test('a name of another script is compared as ASCII', (t) => {
  t.ok(allows('münchen.example', 'http://xn--mnchen-3ya.example/'));
  t.ok(allows('xn--mnchen-3ya.example', 'http://MÜNCHEN.example/'));
  t.end();
});

t.test('an IP address must be in a listed network, in each notation of the URL', (t) => {
  const forms = [
    '10.1.2.3',
    '167838211',
    '0x0a010203',
    '012.1.2.3',
    '10.66051',
    '[::ffff:10.1.2.3]',
  ];
  for (const host of forms) {
    t.ok(allows('10.0.0.0/8', `http://${host}/`), host);
    t.notOk(allows('11.0.0.0/8,n8n,*.svc', `http://${host}/`), host);
  }
  t.ok(allows('2001:db9::/32', 'http://[2001:0db9:0::1]/'));
  t.notOk(allows('0.0.0.0/0', 'http://[2001:db9::1]/'));
  t.end();
});

t.test('a wide network does not include special addresses, but a narrow network does', (t) => {
  const loopbacks = ['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:7f00:1]', '[64:ff9b::7f00:1]'];
  for (const host of loopbacks) {
    t.notOk(allows('0.0.0.0/0,::/0', `http://${host}/`), host);
    t.ok(allows('127.0.0.0/8', `http://${host}/`), host);
  }
  t.notOk(allows('100.64.0.0/10', 'http://100.100.100.200/'));
  t.ok(allows('100.100.100.200', 'http://100.100.100.200/'));
  t.ok(allows('100.64.0.0/10', 'http://100.64.0.1/'));
  t.end();
});

t.test('the address of an allowed name must be ordinary, unless a network lists it', (t) => {
  const hosts = AllowedHosts.parse('n8n,127.0.0.1:80,169.254.169.254/32');
  for (const address of ['10.0.0.1', '192.168.1.1', 'fd12::1', '93.184.216.34', '2606:2800::1']) {
    t.ok(hosts.allowsAddress(address, 80), address);
  }
  t.ok(hosts.allowsAddress('127.0.0.1', 80));
  t.ok(hosts.allowsAddress('::ffff:127.0.0.1', 80));
  t.ok(hosts.allowsAddress('169.254.169.254', 443));
  t.notOk(hosts.allowsAddress('127.0.0.1', 443));
  t.notOk(hosts.allowsAddress('127.0.0.2', 80));
  const refused = [
    ...['0.0.0.0', '0.1.2.3', '169.254.1.1', '224.0.0.1', '255.255.255.255', '240.0.0.1'],
    ...['168.63.129.16', '192.0.0.192', '100.100.100.200', '198.18.0.1'],
    ...['::', '::1', 'fe80::1', 'fe80::1%eth0', 'ff02::1', 'fec0::1', 'fd00:ec2::254', '::7f00:1'],
    ...['::ffff:169.254.1.1', '64:ff9b::a9fe:1', '::ffff:0:7f00:1', '2002:7f00:1::', '2001::1'],
    ...['64:ff9b:1::7f00:1', '', 'n8n'],
  ];
  for (const address of refused) t.notOk(hosts.allowsAddress(address, 80), address);
  t.end();
});

t.test('no form of an IPv4 address within an IPv6 address hides a special address', (t) => {
  const octet = fc.nat(255);
  fc.assert(
    fc.property(octet, octet, octet, octet, (a, b, c, d) => {
      const plain = `${a}.${b}.${c}.${d}`;
      const mapped = [`::ffff:${plain}`, `64:ff9b::${plain}`];
      const never = [`::ffff:0:${plain}`, `::${plain}`];
      return (
        mapped.every((address) => isSpecial(address) === isSpecial(plain)) &&
        never.every((address) => isSpecial(address))
      );
    }),
  );
  t.end();
});

t.test('no spelling of a loopback address passes without a network that lists it', (t) => {
  const hosts = AllowedHosts.parse('n8n,*.example.com,10.0.0.0/8,0.0.0.0/0,::/0');
  const part = fc.tuple(fc.nat(255), fc.constantFrom(10, 8, 16)).map(([value, base]) => {
    const prefix = { 10: '', 8: '0', 16: '0x' }[base];
    return `${value === 0 && base === 8 ? '' : prefix}${value.toString(base)}`;
  });
  const first = fc.constantFrom('127', '0177', '0x7f', '0X7F');
  fc.assert(
    fc.property(
      first,
      fc.array(part, { maxLength: 3 }),
      fc.constantFrom('', '.'),
      (a, rest, dot) => {
        // One part alone is the whole address: 127 is 0.0.0.127, which is special too.
        const { host } = parseCallbackUrl(`http://${[a, ...rest].join('.')}${dot}/`);
        return !hosts.allows(host, 80) && !hosts.allowsAddress(host, 80);
      },
    ),
  );
  t.end();
});

t.test('a wrong entry is rejected with the expected format', (t) => {
  const wrong = [
    ...['http://n8n', 'n8n/path', 'n8n:0', 'n8n:65536', 'n8n:', '*', '*.', 'a.*.b', 'a@b', 'n 8:x'],
    ...['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '2130706433', '0x7f.1', '012.0.0.1', '10.1'],
    ...['[n8n]:80', '[::1', 'fe80::1%eth0', '::/129', 'n8n:80:80'],
  ];
  for (const entry of wrong) {
    const { error } = allowedHosts.safeParse(`n8n,${entry}`);
    t.match(error?.issues[0]?.message, /^names, suffixes and networks/, entry);
  }
  t.ok(AllowedHosts.parse(' , ').isEmpty);
  t.same(AllowedHosts.parse('n8n:5678\n*.b,a.example').named, [
    { host: 'n8n', port: 5678 },
    { host: 'a.example', port: undefined },
  ]);
  t.end();
});
