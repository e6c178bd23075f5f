import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Agent } from 'undici';
import { type GitHubQueryOptions, startGitHubQuery } from '../../../init/github/github-query.ts';
import { testDirectory } from '../../support/directory.ts';
import { type GitHubApiOptions, startGitHubApi } from '../../support/github-api.ts';
import { until } from '../../support/until.ts';
import { captureLog, token } from '../fixture.ts';

const day = 24 * 3_600_000;
const noon = Date.UTC(2026, 5, 1, 12);

/** A volume and a stand-in API; each `run` looks at it as one run of init does. */
async function prepare(t: Test, options: Partial<GitHubApiOptions> = {}) {
  const stateDirectory = testDirectory(t);
  const api = await startGitHubApi({ repository: 'me/claude', token, ...options });
  const dispatcher = new Agent();
  t.teardown(() => Promise.all([api.close(), dispatcher.destroy()]));
  const { log, lines } = captureLog();
  const { signal } = new AbortController();
  const look = (at: number, overrides: Partial<GitHubQueryOptions> = {}) => {
    const asked = { apiUrl: api.url, path: 'me/claude', ref: undefined, token };
    const common = { dispatcher, signal, log, stateDirectory, now: () => at, timeout: 60_000 };
    return startGitHubQuery({ ...asked, ...common, ...overrides });
  };
  return {
    api,
    lines,
    look,
    file: join(stateDirectory, 'github.json'),
    warnings: () => lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg),
  };
}

/** Waits until the look that runs in the background has its answer. */
const answered = (lines: readonly { event: string }[], times: number) =>
  until(
    'GitHub has answered',
    () => lines.filter(({ event }) => event === 'preflight').length >= times,
  );

t.test('GitHub is queried once a day, and again for another token', async (t) => {
  const { api, look, lines } = await prepare(t);
  const first = await look(noon);
  await answered(lines, 1);
  await first.finish();
  const asked = api.requests.length;
  await (await look(noon + day - 1)).finish();
  t.equal(api.requests.length, asked, 'not twice a day');
  const next = await look(noon + day);
  await answered(lines, 2);
  await next.finish();
  t.equal(api.requests.length, 2 * asked);
  const other = await look(noon + day, { token: 'another-token' });
  await until('it is asked', () => api.requests.length > 2 * asked);
  await other.close();
});

t.test('a clock that was set back does not delay the query', async (t) => {
  const { look, lines } = await prepare(t);
  const first = await look(noon);
  await answered(lines, 1);
  await first.finish();
  const second = await look(noon - 400 * day);
  await answered(lines, 2);
  await second.finish();
});

t.test('if git is refused, GitHub is queried even shortly after the last query', async (t) => {
  const { look, lines } = await prepare(t, { defaultBranch: 'trunk' });
  const first = await look(noon);
  await answered(lines, 1);
  await first.finish();
  const second = await look(noon + 1);
  t.match(await second.answer(), { answered: true, defaultBranch: 'trunk' });
});

t.test('if git works, a problem that GitHub reports is only a warning', async (t) => {
  const { look, warnings } = await prepare(t, { access: 'metadata' });
  const one = await look(noon);
  await one.answer();
  await one.finish();
  t.match(warnings(), [/git works, but GitHub's API reports: .*Contents: read/]);
});

t.test('a token is warned about from 14 days before its end, at every run', async (t) => {
  const { look, lines, warnings } = await prepare(t, { tokenExpires: '2026-06-20 12:00:00 UTC' });
  const first = await look(noon);
  await answered(lines, 1);
  await first.finish();
  t.strictSame(warnings(), [], '19 days before');
  const sentences: [number, RegExp][] = [
    [5.5, /expires in 13 days; create a new token and put it into BERTH_GIT_TOKEN/],
    [17.9, /expires in 1 day;/],
    [18.5, /expires within a day/],
    [19.5, /has ended/],
  ];
  for (const [days, sentence] of sentences) {
    const one = await look(noon + days * day);
    await one.answer();
    await one.finish();
    t.match(warnings().at(-1), sentence);
  }
  const count = warnings().length;
  await (await look(noon + 19.6 * day)).finish();
  t.equal(warnings().length, count + 1, 'also when GitHub is not asked');
});

t.test(
  'a successful run does not wait for GitHub, except 2 s after seven cut queries',
  async (t) => {
    const { api, look, file } = await prepare(t, { hang: true });
    for (let run = 0; run < 7; run++) {
      const one = await look(noon + run * day);
      await one.finish();
      await one.close();
    }
    t.match(JSON.parse(readFileSync(file, 'utf8')), { cut_short: 7 });
    const patient = await look(noon + 7 * day);
    const asked = api.requests.length;
    await patient.finish();
    t.ok(api.requests.length > asked, 'and has really asked');
    await patient.close();
  },
);

t.test('an init that stays repeats a query that had no answer', async (t) => {
  const { api, look, file } = await prepare(t, { hang: true });
  const cut = await look(noon);
  await until('it is asked', () => api.requests.length > 0);
  t.equal(await cut.finish(), false);
  await cut.close();
  const asked = api.requests.length;
  const start = await look(noon + 1);
  t.equal(await start.finish(), false, 'a start does not repeat it on the same day');
  t.equal(api.requests.length, asked);
  const again = await look(noon + 2, { repeats: true });
  await until('it is repeated', () => api.requests.length > asked);
  await again.close();
  t.match(JSON.parse(readFileSync(file, 'utf8')), { cut_short: 1 });
});

t.test('the volume has neither the token nor anything that must be believed', async (t) => {
  const { look, lines, file, warnings } = await prepare(t);
  const first = await look(noon);
  await answered(lines, 1);
  await first.finish();
  t.notOk(readFileSync(file, 'utf8').includes(token));
  for (const text of ['garbage', '[]', '{"version":1,"subject":5}']) {
    writeFileSync(file, text);
    const one = await look(noon);
    t.match(await one.answer(), { answered: true });
    await one.finish();
    t.match(JSON.parse(readFileSync(file, 'utf8')), { version: 1, cut_short: 0 }, text);
  }
  writeFileSync(file, '{"version":2}');
  const one = await look(noon);
  await one.answer();
  await one.finish();
  t.equal(readFileSync(file, 'utf8'), '{"version":2}', 'a newer one is left as it is');
  t.strictSame(warnings(), []);
});
