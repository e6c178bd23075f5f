/**
 * The hosts that the policies let out to are enough, and what each one is for: init and the real CLI run
 * in a network namespace where nothing else can be reached (test/series/egress/network.ts).
 */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { hosts } from '../../shared/hosts.ts';
import { testDirectory } from '../support/directory.ts';
import { cannotRender, type Manifest, renderOverlay } from '../support/manifests.ts';
import type { Outcome, Step } from './egress/pod.ts';

t.jobs = 2;

const skip = cannotRun();
const opened = skip ? new Map<string, string[]>() : openedByCilium();
const listed = opened.get('berth-egress') ?? [];
const optional = opened.get('berth-egress-optional') ?? [];

function cannotRun(): string | false {
  if (process.env.CI === 'true') return false;
  if (cannotRender()) return cannotRender();
  const tried = spawnSync('unshare', ['--net', '--mount', 'nft', 'list', 'ruleset']);
  return tried.status === 0 ? false : 'no namespaces, or no nft: run as root, with nftables';
}

/** What a cluster would get: the names in each policy of the two rendered components. */
function openedByCilium(): Map<string, string[]> {
  const components = ['cilium-egress', 'cilium-egress-optional'];
  const manifests = renderOverlay(testDirectory(t, {}), { resources: ['base'], components });
  const policies = manifests.filter(({ kind }) => kind === 'CiliumNetworkPolicy');
  const namesIn = (policy: Manifest) =>
    JSON.stringify(policy).match(/(?<="matchName":")[^"]+/g) ?? [];
  return new Map(policies.map((policy) => [policy.metadata.name, namesIn(policy)]));
}

const all: readonly Step[] = ['init', 'wrongToken', 'prompt', 'olderTokenHost', 'tool'];

async function runPod(
  t: Test,
  open: readonly string[],
  steps: readonly Step[] = all,
): Promise<Outcome> {
  const directory = join(testDirectory(t, { pod: {} }), 'pod');
  const script = join(import.meta.dirname, 'egress/pod.ts');
  const args = [directory, open.join(), steps.join()];
  const command = ['--net', '--mount', process.execPath, script, ...args];
  const { stdout } = await promisify(execFile)('unshare', command, { timeout: 250_000 });
  return JSON.parse(stdout);
}

t.test(
  'with the listed hosts all steps work; other connections are refused and logged',
  { skip },
  async (t) => {
    const { init, wrongToken, prompt, tool, refused, olderTokenHost } = await runPod(t, listed);
    t.match(init, { code: 0 });
    t.match(wrongToken, { code: 77 });
    t.match(wrongToken?.output, /GitHub does not accept the token/);
    t.match(prompt, { is_error: false, result: /You said: Good morning/ });
    t.equal(olderTokenHost, true, 'open, though nothing here asks for it');
    t.strictSame(refused.before, [], 'nothing but the listed hosts is asked for');
    t.match(tool, { is_error: false, result: /(Connection refused.*){3}not known/s });
    t.notMatch(tool?.result, /connected/);
    const logged = refused.byTool.join('\n');
    t.match(logged, /^refused tcp to elsewhere\.example \(10\.99\.0\.\d+\) port 443$/m);
    t.match(logged, /^refused tcp to 203\.0\.113\.7 port 8443$/m);
    t.match(logged, /^refused tcp to github\.com \(10\.99\.0\.\d+\) port 22$/m);
    t.match(logged, /^asked for nowhere\.example, which there is not$/m);
  },
);

/** Which step each host is for, and how it ends without. */
const withoutIt: Record<string, [Step, (t: Test, outcome: Outcome) => void]> = {
  'github.com': ['init', (t, { init }) => t.match(init, { code: 69 })],
  'api.github.com': [
    'wrongToken',
    (t, { wrongToken }) => {
      t.match(wrongToken?.output, 'cannot query https://api.github.com');
      t.notMatch(wrongToken?.output, 'GitHub does not accept the token');
    },
  ],
  'api.anthropic.com': ['prompt', (t, { prompt }) => t.match(prompt, { is_error: true })],
  'platform.claude.com': ['prompt', (t, { prompt }) => t.match(prompt, { is_error: true })],
};

/** CLIs of 2.0 refresh there, which berth does not take: nothing of today fails without it. */
const forOlderClis = 'console.anthropic.com';

const needed = hosts.filter(({ host, optional }) => !optional && host !== forOlderClis);
for (const { host } of needed) {
  t.test(`without ${host} the step that needs the host fails`, { skip }, async (t) => {
    const [step, fails] = withoutIt[host] ?? [];
    if (!step || !fails) throw new Error('say here what it is for');
    t.ok(listed.includes(host), 'it is open otherwise');
    const rest = listed.filter((name) => name !== host);
    const outcome = await runPod(t, rest, [step]);
    fails(t, outcome);
    const [line = ''] = outcome.refused.before;
    t.match(line, `refused tcp to ${host} (`, 'it was asked for, and the log says so');
    t.match(line, / port 443$/);
  });
}

t.test(
  `without ${forOlderClis} init and this CLI work, and only a CLI of 2.0 would miss it`,
  { skip },
  async (t) => {
    const rest = listed.filter((name) => name !== forOlderClis);
    const steps: Step[] = ['init', 'prompt', 'olderTokenHost'];
    const { init, prompt, olderTokenHost, refused } = await runPod(t, rest, steps);
    t.match(init, { code: 0 });
    t.match(prompt, { is_error: false, result: /You said: Good morning/ });
    t.equal(olderTokenHost, false);
    const [line, ...others] = refused.before;
    t.match(line, `refused tcp to ${forOlderClis} (`, 'by what stands for such a CLI');
    t.strictSame(others, []);
  },
);

const registry = 'registry.npmjs.org';

t.test(`init has the CLI from ${registry} with the optional hosts`, { skip }, async (t) => {
  t.strictSame(optional, [registry], 'say here what another one is for');
  const open = [...listed, ...optional];
  const { firstCli, nextCli, refused } = await runPod(t, open, ['firstCli', 'nextCli']);
  for (const ended of [firstCli, nextCli]) {
    t.match(ended, { code: 0, output: /"event":"report".*"cli":"installed"/ });
  }
  t.strictSame(refused.before, [], 'nothing but the listed hosts is asked for');
});

t.test(`without ${registry} init ends, or goes on with the CLI there is`, { skip }, async (t) => {
  const { firstCli, nextCli, refused } = await runPod(t, listed, ['firstCli', 'nextCli']);
  const cannot = `cannot download https://${registry}/`;
  t.match(firstCli, { code: 69 });
  t.match(firstCli?.output, new RegExp(`"level":"error".*"event":"failed".*"msg":"${cannot}`));
  t.match(nextCli, { code: 0, output: /"event":"report".*"cli":"previous"/ });
  t.match(
    nextCli?.output,
    new RegExp(
      `"level":"error".*"event":"cli_not_installed".*the earlier version is used: ${cannot}`,
    ),
  );
  t.ok(refused.before.length > 1);
  t.equal(refused.counted, refused.before.length, 'all that is counted is logged');
  for (const line of refused.before) {
    t.match(line, `refused tcp to ${registry} (`);
    t.match(line, / port 443$/);
  }
});
