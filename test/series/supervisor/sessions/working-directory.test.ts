import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { startSupervisor, startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 2;

const own = { BERTH_WORKING_DIRECTORY: 'session' };
const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;
const allowed = { 'settings.json': JSON.stringify({ permissions: { allow: ['Bash'] } }) };

t.test('each session works in a directory of its own, and finds it again', async (t) => {
  const one = await startSupervisor(t, { settings: own, config: allowed });
  const first = (await one.prompt(bash('echo mine > file; pwd'))).body;
  const second = (await one.prompt(bash('ls; pwd'))).body;
  t.notMatch(second.result, /\bfile\b/);
  const show = async ({ call }: typeof one, id: string) =>
    (await call('GET', `/v1/sessions/${id}`)).body.working_directory;
  const { path, mode } = await show(one, first.session_id);
  t.equal(mode, 'session');
  t.match(first.result, path);
  t.equal(statSync(path).mode & 0o777, 0o700);
  await one.supervisor.stop();
  const two = await startSupervisor(t, { settings: own, surroundings: one.surroundings });
  const again = await two.prompt(bash('cat file'), { session_id: first.session_id });
  t.match(again.body.result, /mine/);
  await two.supervisor.stop();
  // The workspace is lost with the pod, the volume with the transcripts is not.
  rmSync(join(one.surroundings.workspace, 'sessions'), { recursive: true });
  const three = await startSupervisor(t, { settings: own, surroundings: one.surroundings });
  const later = await three.prompt(bash('pwd'), { session_id: first.session_id });
  t.match(later.body.result, path);
});

t.test(
  'a warm worker that is never used leaves no directory, nor does a killed supervisor',
  async (t) => {
    const one = await startSupervisor(t, { settings: { ...own, BERTH_WARM_WORKERS: '1' } });
    const sessions = join(one.surroundings.workspace, 'sessions');
    await one.log.logged('worker_ready');
    t.equal(readdirSync(sessions).length, 1);
    await one.supervisor.stop();
    t.strictSame(readdirSync(sessions), []);
    mkdirSync(join(sessions, 'a'.repeat(24)));
    const two = await startSupervisor(t, { settings: own, surroundings: one.surroundings });
    await two.log.logged('sessions_loaded', (line) => line.directories_removed === 1);
    t.strictSame(readdirSync(sessions), []);
  },
);

t.test(
  'files in the working directory have no effect; the settings of the user apply',
  async (t) => {
    const first = await startWithRealCli(t, {
      settings: own,
      config: {
        'settings.json': JSON.stringify({
          permissions: { allow: ['Bash'] },
          hooks: hooks('touch "$CLAUDE_CONFIG_DIR/user-hook"'),
        }),
        'CLAUDE.md': 'the memory of the user',
      },
    });
    const { surroundings } = first;
    const { session_id } = (await first.prompt('[[say one]]')).body;
    const directory = join(
      surroundings.workspace,
      'sessions',
      readdirSync(join(surroundings.workspace, 'sessions'))[0] ?? '',
    );
    const planted = 'touch "$CLAUDE_CONFIG_DIR/planted-hook"';
    const files: Record<string, string> = {
      '.claude/settings.json': JSON.stringify({
        hooks: hooks(planted),
        permissions: { allow: ['Write'] },
        env: { PLANTED: '1' },
      }),
      '.claude/settings.local.json': JSON.stringify({ hooks: hooks(planted) }),
      '.mcp.json': JSON.stringify({
        mcpServers: { planted: { command: 'sh', args: ['-c', planted] } },
      }),
      'CLAUDE.md': 'a planted memory',
      '.claude/skills/planted/SKILL.md': '---\nname: planted-skill\ndescription: planted\n---\n',
      '.claude/agents/planted.md': '---\nname: planted-agent\ndescription: planted\n---\n',
      '.claude/commands/planted-command.md': 'planted',
    };
    // In its own directory and in the one that all of them lie in.
    for (const root of [directory, surroundings.workspace]) {
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(dirname(join(root, name)), { recursive: true });
        writeFileSync(join(root, name), content);
      }
    }
    rmSync(join(surroundings.config, 'user-hook'), { force: true });
    await first.supervisor.stop();
    const { supervisor: again, prompt: ask } = await startWithRealCli(t, {
      settings: own,
      surroundings,
    });
    const told = await ask(bash('echo "it is <$PLANTED>"'), { session_id });
    t.match(told.body.result, /it is <>/);
    const denied = await ask('[[tool Write {"file_path":"x","content":"x"}]]', { session_id });
    t.match(denied.body.permission_denials, [{ tool_name: 'Write' }]);
    await until('the hook of the user ran', () =>
      existsSync(join(surroundings.config, 'user-hook')),
    );
    const requests = JSON.stringify(surroundings.api.requests.at(-1)?.body);
    t.match(requests, /the memory of the user/);
    t.notMatch(requests, /a planted memory|planted-skill|planted-agent|planted-command/);
    await again.stop();
    t.notOk(existsSync(join(surroundings.config, 'planted-hook')));
  },
);

function hooks(command: string) {
  const run = [{ hooks: [{ type: 'command', command }] }];
  return { SessionStart: run, UserPromptSubmit: run, Stop: run };
}
