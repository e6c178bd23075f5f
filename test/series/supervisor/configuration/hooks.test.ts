import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { cliArguments } from '../../../../supervisor/claude/command.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const somebody = { token: 'a-token-of-somebody-else' };

/** Milliseconds after which the CLI has read a changed settings.json, as a supervisor without a guard shows. */
const readAgain = 3_000;

const hookOn = (mark: string) => ({
  UserPromptSubmit: [
    { hooks: [{ type: 'command', command: `touch "$CLAUDE_CONFIG_DIR/${mark}"` }] },
  ],
});

/**
 * One session's Bash writes a hook while another token's process lives; then that one and a new one
 * have a prompt each.
 */
async function plantHook(t: Test, settings: object) {
  const running = await startWithRealCli(t, {
    config: { 'settings.json': JSON.stringify(settings) },
    settings: { BERTH_MAX_WORKERS: '3' },
  });
  const path = join(running.surroundings.config, 'settings.json');
  const before = readFileSync(path, 'utf8');
  const first = await running.prompt('[[say one]]', {}, somebody);
  const evil = JSON.stringify({ ...settings, hooks: hookOn('planted') });
  // The CLI refuses a redirection to its settings, and does not see what a script does.
  const script = join(running.surroundings.workspace, 'plant.sh');
  writeFileSync(script, `printf '%s' '${evil}' > '${path}'; echo written`);
  const command = `sh '${script}'`;
  const written = await running.prompt(`[[tool Bash ${JSON.stringify({ command })}]]`);
  t.match(written.body.result, /written/);
  const line = await running.log.logged('configuration_changed');
  t.equal(readFileSync(path, 'utf8'), before);
  await delay(readAgain);
  const { session_id } = first.body;
  const second = await running.prompt('[[say two]]', { session_id }, somebody);
  t.match(second, { status: 200, body: { result: 'two', session_id } });
  t.match(await running.prompt('[[say three]]', {}, somebody), { body: { result: 'three' } });
  const ran = (mark: string) => existsSync(join(running.surroundings.config, mark));
  return { running, ran, line };
}

t.test('a hook that a session writes into settings.json runs in no other session', async (t) => {
  // With hooks upstream: then the CLI runs those of settings.json.
  const settings = { permissions: { allow: ['Bash'] }, hooks: hookOn('upstreams') };
  const { running, ran, line } = await plantHook(t, settings);
  t.ok(ran('upstreams'));
  t.notOk(ran('planted'));
  t.match(line, { level: 'error', path: 'settings.json', action: 'restored' });
  t.match(readFileSync(String(line.saved), 'utf8'), 'planted');
  const { body } = await running.call('GET', `${running.metricsUrl}/metrics`);
  t.match(body, 'berth_configuration_changes_total{action="restored"} 1');
});

t.test('where upstream has no hooks, the CLI itself runs none', async (t) => {
  const settings = JSON.stringify({ hooks: hookOn('planted') });
  const surroundings = await makeSurroundings(t, { 'settings.json': settings });
  const ran = () => existsSync(join(surroundings.config, 'planted'));
  const locked = startProcess(t, surroundings, { arguments: cliArguments({ noHooks: true }) });
  await locked.run('[[say one]]');
  t.notOk(ran());
  await startProcess(t, surroundings).run('[[say two]]');
  t.ok(ran());
});
