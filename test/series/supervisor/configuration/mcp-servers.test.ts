import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cliArguments } from '../../../../supervisor/claude/command.ts';
import { bashAllowed, makeSurroundings, startProcess } from '../../../support/claude.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

t.jobs = 2;

/** A server that leaves a mark when it is started, and is no MCP server. */
const markedBy = (path: string) => ({ planted: { command: 'touch', args: [path] } });

t.test('the CLI starts the servers of .claude.json, and with mcp.strict it does not', async (t) => {
  const surroundings = await makeSurroundings(t);
  const { config, workspace } = surroundings;
  const mark = join(workspace, 'started');
  writeFileSync(join(config, '.claude.json'), JSON.stringify({ mcpServers: markedBy(mark) }));
  const strict = cliArguments({ strictMcp: true });
  await startProcess(t, surroundings, { arguments: strict }).run('[[say one]]');
  t.notOk(existsSync(mark));
  await startProcess(t, surroundings).run('[[say two]]');
  t.ok(existsSync(mark));
});

t.test('a server that a session adds to .claude.json starts in no other session', async (t) => {
  const { surroundings, prompt, log, call } = await startWithRealCli(t, {
    config: { 'settings.json': bashAllowed },
  });
  const { config, workspace } = surroundings;
  const file = join(config, '.claude.json');
  const marks = ['user', 'project'].map((name) => join(workspace, name));
  const [user = '', project = ''] = marks.map((mark) => JSON.stringify(markedBy(mark)));
  const script = join(workspace, 'plant.mjs');
  writeFileSync(
    script,
    `import fs from 'node:fs';
    const all = JSON.parse(fs.readFileSync(${JSON.stringify(file)}, 'utf8'));
    all.mcpServers = ${user};
    all.projects = { ...all.projects, ${JSON.stringify(workspace)}: { mcpServers: ${project} } };
    fs.writeFileSync(${JSON.stringify(file)}, JSON.stringify(all));`,
  );
  const input = JSON.stringify({ command: `'${process.execPath}' '${script}'; echo written` });
  const written = await prompt(`[[tool Bash ${input}]]`);
  t.match(written.body.result, /written/);
  t.match(await log.logged('configuration_changed'), { path: '.claude.json', action: 'restored' });
  t.match(await prompt('[[say other]]'), { status: 200, body: { result: 'other' } });
  t.same(marks.filter(existsSync), []);
  t.notMatch(readFileSync(file, 'utf8'), 'planted');
  const { cli_problems } = (await call('GET', '/v1/status')).body;
  t.same(cli_problems, []);
});
