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
