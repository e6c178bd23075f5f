import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { TokenFile } from '../../../supervisor/http/token-file.ts';
import {
  bearerOf,
  digestToken,
  makeToken,
  readTokens,
  tokenLine,
} from '../../../supervisor/http/tokens.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';

const [one, two, three] = [makeToken(), makeToken(), makeToken()];

async function open(t: Test, path: string, interval = 20) {
  const log = captureLog();
  const file = await TokenFile.open(path, log.log, interval);
  t.teardown(() => file.close());
  return { file, log };
}

/** A file or directory for the test; torn down after what the test opens. */
function place(t: Test, content: Parameters<Test['testdir']>[0]): string {
  return testDirectory(t, content);
}

t.test('a token that was made is long, and known by its line alone', async (t) => {
  t.match(one, /^berth_[\w-]{43}$/);
  t.not(one, two);
  const line = tokenLine('n8n', one);
  t.match(line, /^n8n:sha256:[0-9a-f]{64}$/);
  const { tokens, plain } = await readTokens(join(testDirectory(t, { tokens: line }), 'tokens'));
  t.equal(bearerOf(tokens, one)?.name, 'n8n');
  t.equal(bearerOf(tokens, two)?.name, undefined);
  t.equal(bearerOf(tokens, digestToken(one).toString('hex'))?.name, undefined, 'not by its digest');
  t.equal(bearerOf(tokens, '')?.name, undefined);
  t.same(plain, []);
});

t.test('a name that could not be read back is refused when the line is made', (t) => {
  for (const name of ['', 'a:b', ' n8n', 'ä', 'x'.repeat(65)]) {
    t.throws(() => tokenLine(name, one), { code: 'config_invalid' }, JSON.stringify(name));
  }
  t.end();
});

t.test('several names, comments, empty lines and line ends of Windows', async (t) => {
  const lines = ['# who may call', '', tokenLine('n8n', one), tokenLine('grafana', two), ''];
  const { tokens } = await readTokens(
    join(testDirectory(t, { tokens: lines.join('\r\n') }), 'tokens'),
  );
  t.equal(bearerOf(tokens, one)?.name, 'n8n');
  t.equal(bearerOf(tokens, two)?.name, 'grafana');
});

t.test(
  'plain tokens are accepted, each with one warning that does not show the token',
  async (t) => {
    const path = join(place(t, { tokens: `home:${one}\n${two}\n` }), 'tokens');
    const { file, log } = await open(t, path);
    t.equal(file.find(one)?.name, 'home');
    t.equal(file.find(two)?.name, 'default');
    writeFileSync(path, `home:${one}\n${two}\n${tokenLine('more', three)}\n`);
    await until('it was read again', () => file.find(three)?.name === 'more');
    const warnings = log.lines.filter(({ event }) => event === 'token_plain');
    t.match(
      warnings.map(({ level, msg }) => [level, msg]),
      [
        ['warn', /the API token home is stored in plain text; .*`berth token home`/],
        ['warn', /the API token default /],
      ],
    );
    t.equal(warnings.length, 2);
    for (const token of [one, two, three]) t.notMatch(log.text, token);
  },
);

const wrong: [string, string, RegExp][] = [
  ['no line', '# nothing yet\n', /cannot find an API token in .*; add a line that `berth token/],
  ['a short one', 'n8n:secret\n', /line 1 of .*: a token has 16 characters at least/],
  ['a cut digest', `n8n:sha256:${'a'.repeat(63)}\n`, /line 1 .* a SHA-256 has 64 hex digits/],
  ['a bad name', `\nn 8:sha256:${'a'.repeat(64)}`, /line 2 .* the name before the colon/],
];

for (const [what, content, message] of wrong) {
  t.test(`a file with ${what} is a configuration error with a remedy`, async (t) => {
    const path = join(testDirectory(t, { tokens: content }), 'tokens');
    await t.rejects(readTokens(path), { code: 'config_invalid', exitCode: 64, message });
  });
}

t.test('a missing file is a configuration error with a remedy', async (t) => {
  await t.rejects(readTokens('/nowhere/tokens'), {
    code: 'config_invalid',
    message: /ENOENT.*; mount the Secret that BERTH_API_TOKENS_FILE names/,
  });
});

/** A directory as the kubelet mounts a Secret: links through `..data`, which is swapped by a rename. */
function mountSecret(directory: string, revision: number, files: Record<string, string>): void {
  const folder = `..2026_revision_${revision}`;
  mkdirSync(join(directory, folder));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, folder, name), content);
  }
  symlinkSync(folder, join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  for (const name of revision === 1 ? Object.keys(files) : []) {
    symlinkSync(join('..data', name), join(directory, name));
  }
}

t.test('a mounted Secret is read, and its rotation is picked up without a restart', async (t) => {
  const directory = place(t, {});
  mountSecret(directory, 1, { n8n: tokenLine('n8n', one), home: tokenLine('home', two) });
  const { file } = await open(t, directory);
  t.equal(file.find(one)?.name, 'n8n');
  t.equal(file.find(two)?.name, 'home');
  mountSecret(directory, 2, { n8n: tokenLine('n8n', three), home: tokenLine('home', two) });
  await until('the new token is known', () => file.find(three)?.name === 'n8n');
  t.equal(file.find(one)?.name, undefined, 'the old one is not any more');
  t.equal(file.find(two)?.name, 'home');
});

t.test('one file of a mounted Secret is followed to its new revision', async (t) => {
  const directory = place(t, {});
  mountSecret(directory, 1, { tokens: tokenLine('n8n', one) });
  const { file } = await open(t, join(directory, 'tokens'));
  t.equal(file.find(one)?.name, 'n8n');
  mountSecret(directory, 2, { tokens: tokenLine('n8n', two) });
  await until('the new token is known', () => file.find(two)?.name === 'n8n');
  t.equal(file.find(one)?.name, undefined);
});

t.test('a file that is empty or half written for a moment revokes no token', async (t) => {
  const lines = [tokenLine('n8n', one), tokenLine('home', two)].join('\n');
  const path = join(place(t, { tokens: lines }), 'tokens');
  const { file, log } = await open(t, path, 3_600_000);
  const read = async (content: string) => {
    writeFileSync(path, content);
    await file.readAgain();
    return file.names();
  };
  t.same(await read(''), ['n8n', 'home']);
  t.same(await read(tokenLine('n8n', one)), ['n8n', 'home']);
  t.same(await read(lines), ['n8n', 'home']);
  t.same(await read(''), ['n8n', 'home']);
  t.equal(log.count('tokens_loaded'), 1, 'nothing was logged');
  t.same(await read(''), [], 'twice in a row');
  t.same(await read(lines), ['n8n', 'home'], 'a new token counts at once');
  t.same(await read(''), ['n8n', 'home']);
  rmSync(path);
  await file.readAgain();
  t.same(await read(''), ['n8n', 'home'], 'the read in between has failed');
  t.same(await read(lines), ['n8n', 'home']);
  t.same(await read(tokenLine('n8n', one)), ['n8n', 'home']);
  t.same(await read(tokenLine('n8n', one)), ['n8n']);
});

t.test('the last token can be revoked', async (t) => {
  const path = join(place(t, { tokens: tokenLine('n8n', one) }), 'tokens');
  const { file } = await open(t, path);
  writeFileSync(path, '# nobody\n');
  await until('it is revoked', () => file.find(one)?.name === undefined);
});

t.test(
  'while the file is broken or missing, the tokens stay valid until the file is corrected',
  async (t) => {
    const path = join(place(t, { tokens: tokenLine('n8n', one) }), 'tokens');
    const { file, log } = await open(t, path);
    const failed = () => log.lines.filter(({ level }) => level === 'error').length;
    writeFileSync(path, 'n8n:sha256:torn');
    await until('it was read', () => failed() === 1);
    t.equal(file.find(one)?.name, 'n8n');
    rmSync(path);
    await until('it was missed', () => failed() === 2);
    t.equal(file.find(one)?.name, 'n8n');
    writeFileSync(`${path}.new`, tokenLine('n8n', two));
    renameSync(`${path}.new`, path);
    await until('the new token is known', () => file.find(two)?.name === 'n8n');
    t.equal(file.find(one)?.name, undefined);
  },
);
