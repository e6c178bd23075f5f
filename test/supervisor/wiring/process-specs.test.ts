import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { SpareTooLate } from '../../../supervisor/claude/late-options.ts';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { builtInProfile } from '../../../supervisor/profiles/profile.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import {
  ProcessSpecs,
  type ProcessSpecsOptions,
} from '../../../supervisor/wiring/process-specs.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';

t.test('shared spares are not used for options that one has refused', async (t) => {
  const specs = new ProcessSpecs({
    learnsLate: () => true,
    commit: () => undefined,
  } as ProcessSpecsOptions);
  const prompt = { profile: builtInProfile(1), overrides: { model: 'opus' } } as Prompt;
  const fails = (error: BerthError) => {
    const process = { alive: true, control: () => Promise.reject(error) };
    return specs.of(prompt).spare?.bind(process as unknown as ClaudeProcess);
  };
  await t.rejects(async () => fails(new SpareTooLate()), { code: 'cli_unavailable' });
  t.ok(specs.of(prompt).spare, 'a slow spare has refused nothing');
  await t.rejects(async () => fails(new BerthError('cli_unavailable', 'no such model')));
  t.notOk(specs.of(prompt).spare);
  const other = { ...prompt, overrides: { model: 'sonnet' } } as Prompt;
  t.ok(specs.of(other).spare, 'other options');
});

t.test('the own directory of a process that could not be started is removed', async (t) => {
  const root = testDirectory(t);
  const workspaces = new Workspaces(root);
  const specs = new ProcessSpecs({
    learnsLate: () => true,
    commit: () => undefined,
    config: { inherited: {}, configDirectory: root, sessionRetention: 1 },
    configuration: { assertRight: () => {} },
    replacementSignal: () => undefined,
    claudePath: () => {
      throw new BerthError('cli_unavailable', 'no file descriptor is free');
    },
    workspaces,
  } as unknown as ProcessSpecsOptions);
  const prompt = { profile: builtInProfile(1, 'session'), overrides: {} } as Prompt;
  t.throws(() => specs.of(prompt).launch('worker-1'), { code: 'cli_unavailable' });
  await until('its directory is gone', async () => (await workspaces.names()).length === 0);
  t.throws(() => workspaces.directoryOf('worker-1'), { code: 'cli_unavailable' });
});

/** Begins a turn without a prompt at `initialize`, and reports a limit at `interrupt`. */
const worksAlone = `#!${process.execPath}
const flag = process.argv.find((each) => each.startsWith('--session-id='));
const say = (message) => console.log(JSON.stringify(message));
process.stdin.on('data', (line) => {
  if (JSON.parse(line).request.subtype === 'interrupt') say({ type: 'rate_limit_event', rate_limit_info: { status: 'rejected' } });
  else say({ type: 'system', subtype: 'init', session_id: flag.slice(13), model: 'm', skills: [] });
});
`;

t.test(
  'a limit in a turn without a prompt belongs to the account that the turn uses',
  async (t) => {
    const root = testDirectory(t, { claude: worksAlone });
    chmodSync(join(root, 'claude'), 0o755);
    for (const readsLoginAgain of [true, false]) {
      let account = new AbortController();
      const replaceAccount = (): void => {
        const earlier = account;
        account = new AbortController();
        earlier.abort();
      };
      const ofEarlier: boolean[] = [];
      const specs = new ProcessSpecs({
        learnsLate: () => false,
        commit: () => undefined,
        config: { inherited: {}, configDirectory: root, sessionRetention: 1 },
        configuration: { assertRight: () => {}, mayHaveHooks: true },
        replacementSignal: () => account.signal,
        readsLoginAgain: () => readsLoginAgain,
        onLimit: (_profile: unknown, _limit: unknown, { aborted }: AbortSignal) =>
          ofEarlier.push(aborted),
        claudePath: () => join(root, 'claude'),
        workspaces: new Workspaces(testDirectory(t)),
      } as unknown as ProcessSpecsOptions);
      const prompt = { profile: builtInProfile(1), overrides: {} } as Prompt;
      const child = specs.of(prompt).launch(`worker-${readsLoginAgain}`);
      t.teardown(() => child.terminate(1_000));
      const reportLimit = async (): Promise<void> => {
        const before = ofEarlier.length;
        void child.control({ subtype: 'interrupt' }).catch(() => undefined);
        await until('the limit was heard', () => ofEarlier.length > before);
      };
      replaceAccount();
      await reportLimit();
      replaceAccount();
      void child.control({ subtype: 'initialize' }).catch(() => undefined);
      await until('the turn has begun', () => child.works);
      await reportLimit();
      replaceAccount();
      await reportLimit();
      t.same(
        ofEarlier,
        [!readsLoginAgain, !readsLoginAgain, true],
        'outside of turns, in a turn, after a change in the turn',
      );
    }
  },
);
