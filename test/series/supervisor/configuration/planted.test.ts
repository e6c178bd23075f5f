/** Hooks and MCP servers that a session plants in the configuration run in no other session. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

t.jobs = 2;

const somebody = { token: 'a-token-of-somebody-else' };

/** Milliseconds after which the CLI has read a changed settings.json, as a supervisor without a guard shows. */
const readAgain = 3_000;

const hookOn = (mark: string) => ({
  UserPromptSubmit: [
    { hooks: [{ type: 'command', command: `touch "$CLAUDE_CONFIG_DIR/${mark}"` }] },
  ],
});

/** A server that leaves a mark when it is started, and is no MCP server. */
const markedBy = (path: string) => ({ planted: { command: 'touch', args: [path] } });

/**
 * One session's Bash writes a hook and servers while another token's process lives; then that one and a new one
 * have a prompt each.
 */
t.test('what a session plants in the configuration', async (t) => {
  // With hooks upstream: then the CLI runs those of settings.json.
  const settings = { permissions: { allow: ['Bash'] }, hooks: hookOn('upstreams') };
  const running = await startWithRealCli(t, {
    config: { 'settings.json': JSON.stringify(settings) },
    settings: { BERTH_MAX_WORKERS: '3' },
  });
  const { config, workspace } = running.surroundings;
  const settingsFile = join(config, 'settings.json');
  const serversFile = join(config, '.claude.json');
  const before = readFileSync(settingsFile, 'utf8');
  const marks = ['user', 'project'].map((name) => join(workspace, name));
  const [user = '', project = ''] = marks.map((mark) => JSON.stringify(markedBy(mark)));
  const first = await running.prompt('[[say one]]', {}, somebody);
  const evil = JSON.stringify({ ...settings, hooks: hookOn('planted') });
  // The CLI refuses a redirection to its settings, and does not see what a script does.
  const script = join(workspace, 'plant.mjs');
  writeFileSync(
    script,
    `import fs from 'node:fs';
    fs.writeFileSync(${JSON.stringify(settingsFile)}, ${JSON.stringify(evil)});
    const all = JSON.parse(fs.readFileSync(${JSON.stringify(serversFile)}, 'utf8'));
    all.mcpServers = ${user};
    all.projects = { ...all.projects, ${JSON.stringify(workspace)}: { mcpServers: ${project} } };
    fs.writeFileSync(${JSON.stringify(serversFile)}, JSON.stringify(all));`,
  );
  const command = `'${process.execPath}' '${script}'; echo written`;
  const written = await running.prompt(`[[tool Bash ${JSON.stringify({ command })}]]`);
  t.match(written.body.result, /written/);
  const changeOf = (file: string) =>
    running.log.logged('configuration_changed', ({ path }) => path === file);
  const [ofSettings, ofServers] = await Promise.all([
    changeOf('settings.json'),
    changeOf('.claude.json'),
  ]);
  t.equal(readFileSync(settingsFile, 'utf8'), before);
  await delay(readAgain);
  const { session_id } = first.body;
  const second = await running.prompt('[[say two]]', { session_id }, somebody);
  t.match(second, { status: 200, body: { result: 'two', session_id } });
  const third = await running.prompt('[[say three]]', {}, somebody);
  t.match(third, { status: 200, body: { result: 'three' } });

  t.test('a hook that a session writes into settings.json runs in no other session', async (t) => {
    t.ok(existsSync(join(config, 'upstreams')));
    t.notOk(existsSync(join(config, 'planted')));
    t.match(ofSettings, { level: 'error', path: 'settings.json', action: 'restored' });
    t.match(readFileSync(String(ofSettings.saved), 'utf8'), 'planted');
    const restored = () =>
      running.log.lines.filter(
        ({ event, action }) => event === 'configuration_changed' && action === 'restored',
      );
    const atLeast = restored().length;
    const { body } = await running.call('GET', `${running.metricsUrl}/metrics`);
    const all = restored();
    t.equal(all.filter(({ path }) => path === 'settings.json').length, 1);
    // The CLI may write its old state of .claude.json once more.
    t.ok(all.length < 10, `${all.length} changes were reverted`);
    const counted = /^berth_configuration_changes_total\{action="restored"\} (\d+)$/m.exec(body);
    const count = Number(counted?.[1]);
    t.ok(atLeast <= count && count <= all.length, `${count} of ${all.length} are counted`);
  });

  t.test('a server that a session adds to .claude.json starts in no other session', async (t) => {
    t.match(ofServers, { path: '.claude.json', action: 'restored' });
    t.same(marks.filter(existsSync), []);
    t.notMatch(readFileSync(serversFile, 'utf8'), '"planted":');
    const { cli_problems } = (await running.call('GET', '/v1/status')).body;
    t.same(cli_problems, []);
  });
});

/** A process without hooks, and then one with mcp.strict: each runs what the other one does not. */
t.test('what the CLI itself runs of its configuration', async (t) => {
  const surroundings = await makeSurroundings(t, {
    'settings.json': JSON.stringify({ hooks: hookOn('hook') }),
  });
  const { config } = surroundings;
  const marks = { hook: join(config, 'hook'), server: join(config, 'server') };
  const servers = markedBy(marks.server);
  writeFileSync(join(config, '.claude.json'), JSON.stringify({ mcpServers: servers }));
  const ran = async (options: Parameters<typeof cliArguments>[0]) => {
    for (const mark of Object.values(marks)) rmSync(mark, { force: true });
    const process = startProcess(t, surroundings, { arguments: cliArguments(options) });
    await process.run('[[say hi]]');
    await process.stop();
    return { hook: existsSync(marks.hook), server: existsSync(marks.server) };
  };

  await t.test(
    'where upstream has no hooks, the CLI itself runs none, and starts the servers of .claude.json',
    async (t) => {
      t.strictSame(await ran({ noHooks: true }), { hook: false, server: true });
    },
  );

  await t.test(
    'with mcp.strict the CLI starts no server of .claude.json, and runs the hooks',
    async (t) => {
      t.strictSame(await ran({ strictMcp: true }), { hook: true, server: false });
    },
  );
});
