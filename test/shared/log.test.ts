import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import t from 'tap';
import { BerthError } from '../../shared/errors.ts';
import { createLog, type Level } from '../../shared/log.ts';
import { neverShow, redact } from '../../shared/redact.ts';

function capture(level: Level = 'debug', pretty = false) {
  const raw: string[] = [];
  const destination = new Writable({
    write(chunk, _encoding, done) {
      raw.push(String(chunk));
      done();
    },
  });
  const log = createLog({ service: 'test', version: '1', level, pretty, destination });
  return { log, raw, lines: () => raw.map((line) => JSON.parse(line)) };
}

t.test('a line is one JSON object with a string level and an event', async (t) => {
  const { log, raw, lines } = capture();
  log.child({ pod: 'x' }).warn('report', 'a message\nof two lines', { count: 1 });
  t.match(raw[0], /^\{.*\}\n$/);
  t.equal(raw[0]?.split('\n').length, 2);
  t.match(lines()[0], {
    level: 'warn',
    event: 'report',
    msg: 'a message\nof two lines',
    service: 'test',
    version: '1',
    pod: 'x',
    count: 1,
    time: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
  });
});

t.test('no log line contains terminal control characters', async (t) => {
  const hostile = 'a\u001b[2J\u009b31m\u202e\u007f\r';
  const json = capture();
  json.log.info('report', hostile, { path: hostile, [hostile]: 1 });
  t.equal(json.raw[0]?.replace(/[^\P{Cc}\n]|\p{Bidi_Control}/gu, ''), json.raw[0]);
  t.match(json.lines()[0], { msg: hostile, path: hostile }, 'the JSON means the same');
  const pretty = capture('debug', true);
  pretty.log.info('report', `${hostile} \\u001b`, { path: hostile });
  t.equal(pretty.raw[0]?.replace(/[^\P{Cc}\n]|\p{Bidi_Control}/gu, ''), pretty.raw[0]);
  t.match(pretty.raw[0], 'a\\u001b[2J\\u009b31m\\u202e\\u007f\\r \\u001b');
});

t.test('an entry below the log level is not logged', async (t) => {
  const { log, lines } = capture('warn');
  log.info('report', 'no');
  log.error('report', 'yes');
  t.strictSame(
    lines().map(({ msg }) => msg),
    ['yes'],
  );
});

t.test('an error is logged with its code and its causes', async (t) => {
  const { log, lines } = capture();
  const cause = Object.assign(new Error('no space'), { code: 'ENOSPC' });
  log.error('failed', 'x', { error: new BerthError('volume_unwritable', 'cannot x', { cause }) });
  t.match(lines()[0].error, {
    type: 'BerthError',
    code: 'volume_unwritable',
    message: 'cannot x',
    cause: { code: 'ENOSPC', message: 'no space' },
  });
});

t.test('no log line exceeds 12 KiB', async (t) => {
  const { log, raw, lines } = capture();
  const long = 'ü'.repeat(20_000);
  log.info('report', long, { long, list: Array(5_000).fill('item'), deep: { a: { b: long } } });
  log.info(
    'report',
    'x',
    Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`f${i}`, 'v'])),
  );
  for (const line of raw) t.ok(Buffer.byteLength(line) <= 12 * 1024, `${Buffer.byteLength(line)}`);
  t.match(lines(), [
    { event: 'report', truncated: true },
    { event: 'report', truncated: true },
  ]);
});

t.test('a secret is shown nowhere in a line, in no form of it', async (t) => {
  const secret = `se/cr"et+${randomBytes(4).toString('hex')}`;
  neverShow(secret);
  const { log, raw } = capture();
  log.info('report', `in a message ${secret}`, {
    field: secret,
    nested: { url: `https://u:${encodeURIComponent(secret)}@h/` },
    error: new Error(`in an error: ${secret}`),
    [secret]: 'in a key',
  });
  t.notOk(raw.join('').includes('se/cr'));
  t.notOk(raw.join('').includes(encodeURIComponent(secret)));
  t.doesNotThrow(() => JSON.parse(raw[0] ?? ''));
});

const hostile = [
  '"level":"',
  '","time":"',
  '{"level"',
  '\\\\\\\\\\\\\\\\',
  'service":"test',
  '"}\n{"level',
];

t.test('a planted secret cannot damage the JSON of a log line', async (t) => {
  const { log, raw, lines } = capture();
  for (const planted of [...hostile, 'lease_waiting', 'berth-serve', '\ud800 is no character']) {
    neverShow(planted);
  }
  log.info('lease_waiting', 'said "level":" and more', { '"level":"': 1, path: 'C:\\x\\' });
  log.info('report', 'x'.repeat(20_000), { text: '"level":"'.repeat(5_000) });
  t.equal(raw.length, 2);
  t.match(lines(), [
    { level: 'info', event: 'lease_waiting', msg: 'said [redacted] and more', path: 'C:\\x\\' },
    { level: 'info', event: 'report', service: 'test', truncated: true },
  ]);
});

t.test('no secret takes a piece out of another and leaves the rest', async (t) => {
  neverShow('sk-ant-oat01-');
  neverShow('the password is first');
  neverShow('first-and-second-half');
  neverShow('second-half-of-another');
  t.equal(redact(`a sk-ant-oat01-${'x'.repeat(40)} b`), 'a [redacted] b');
  t.equal(redact('the password is first-and-second-half!'), '[redacted]!');
  t.equal(redact('first-and-second-half-of-another'), '[redacted]');
});

t.test('a secret is known in a text of several lines and in JSON within JSON', async (t) => {
  const secret = 'pass"word\\of a person';
  neverShow(secret);
  const { log, raw, lines } = capture();
  log.info('report', `first\nghp_${'a'.repeat(36)}`, { body: JSON.stringify({ secret }) });
  t.match(lines()[0], { msg: 'first\n[redacted]', body: '{"secret":"[redacted]"}' });
  t.notMatch(raw[0], /person/);
});

t.test('the list of secrets is limited to the settings and the newest other secrets', async (t) => {
  const name = (number: number) => `remembered-${String(number).padStart(6, '0')}`;
  neverShow('a setting is the first');
  for (let number = 0; number < 2_000; number++) neverShow(name(number));
  t.equal(redact('a setting is the first'), '[redacted]');
  t.equal(redact(name(1_999)), '[redacted]');
  t.equal(redact(name(1_940)), '[redacted]');
  t.equal(redact(name(1_900)), name(1_900));
  neverShow(name(1_940));
  for (let number = 2_000; number < 2_060; number++) neverShow(name(number));
  t.equal(redact(name(1_940)), '[redacted]', 'one that came again is as new as its last time');
});

t.test('an error that is its own cause is logged', async (t) => {
  const { log, lines } = capture();
  const error = new Error('round and round');
  error.cause = error;
  log.error('failed', 'x', { error });
  t.match(lines()[0], { event: 'failed', error: { message: 'round and round' } });
});

t.test('tokens are known by their shape', async (t) => {
  const shown = [
    `ghp_${'a'.repeat(36)}`,
    `github_pat_${'A1_'.repeat(20)}`,
    `sk-ant-oat01-${'x'.repeat(40)}`,
    `glpat-${'x'.repeat(20)}`,
    'Authorization: Bearer abcdefghijkl',
    'authorization: basic dXNlcjpwYXNzd29yZA==',
    'https://user:password@host/path',
  ].map(redact);
  for (const text of shown) t.match(text, /\[redacted\]/);
  t.notMatch(shown.join(), /aaaa|A1_|xxxx|abcdef|dXNl|password/);
});

t.test('short or missing secrets redact nothing', async (t) => {
  neverShow(undefined);
  neverShow('');
  neverShow('abc');
  t.equal(redact('abc def'), 'abc def');
});

t.test('for people a line is short and without secrets', async (t) => {
  neverShow('pretty-secret-1');
  const { log, raw } = capture('info', true);
  log.info('report', 'the volume is ready pretty-secret-1', { count: 3 });
  t.match(raw.join(''), /INFO.*the volume is ready \[redacted\]/);
  t.notMatch(raw.join(''), /service/);
});

/** What a process of its own has logged in the end, whose lines may wait for a minute. */
function loggedBy(statements: string): { msg: string; count: number }[] {
  const program = `
    import { createLog } from './shared/log.ts';
    const log = createLog({ service: 's', version: '1', level: 'info', pretty: false, together: 60_000 });
    ${statements}`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    cwd: join(import.meta.dirname, '../..'),
  });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

t.test('buffered lines are all written in sequence, however the process ends', async (t) => {
  const ends = { exit: 'process.exit(3)', itself: '', thrown: "throw new Error('x')" };
  for (const [how, end] of Object.entries(ends)) {
    const lines = loggedBy(`
        for (let count = 1; count <= 500; count++) log.info('report', 'x', { count });
        ${end}`);
    t.strictSame(
      lines.map(({ count }) => count),
      Array.from({ length: 500 }, (_, index) => index + 1),
      how,
    );
  }
});

t.test(
  'a warning is written at once, together with the buffered lines before the warning',
  async (t) => {
    const lines = loggedBy(`
    for (const text of ['one', 'two']) log.info('report', text);
    log.warn('report', 'three');
    log.info('report', 'four');
    process.kill(process.pid, 'SIGKILL');`);
    t.strictSame(
      lines.map(({ msg }) => msg),
      ['one', 'two', 'three'],
    );
  },
);
