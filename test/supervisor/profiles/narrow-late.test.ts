import t from 'tap';
import { lateOptionsOf } from '../../../supervisor/profiles/launch.ts';
import { readProfiles } from '../../../supervisor/profiles/read.ts';

const profiles = readProfiles(
  `profiles:
  default: {}
  listed: {tools: {allow: [Read, Grep, Bash, mcp__github]}}
  commanded: {commands: [review], tools: {allow: [Read, Bash]}}
`,
  'profiles.yaml',
  { warmWorkers: 1, maxWorkers: 4 },
).profiles;

const late = (name: string, allowedTools: string[]) => {
  const profile = profiles.get(name);
  if (!profile) throw new Error(`there is no profile ${name}`);
  return lateOptionsOf(profile, { allowedTools });
};

t.test('a spare is limited to tools that the CLI always offers, and to MCP tools', async (t) => {
  t.match(late('default', ['Read', 'Bash']), { onlyTools: ['Read', 'Bash'] });
  t.match(late('default', []), { onlyTools: [] });
  t.match(late('listed', ['mcp__github', 'mcp__github__get_issue']), { onlyTools: Array });
});

t.test('other tools, old names and parts of a tool need a process with flags', async (t) => {
  for (const tool of ['Grep', 'WebFetch', 'Task', 'Skill', 'Bash(git log:*)', 'mcp__github__*']) {
    t.equal(late('default', ['Read', tool]), undefined, tool);
  }
});

t.test('without Bash, a profile with commands needs a process with flags', async (t) => {
  t.equal(late('commanded', ['Read']), undefined);
  t.match(late('commanded', ['Read', 'Bash']), { onlyTools: Array });
});

t.test('max_turns and max_budget_usd of a request need a process with flags', async (t) => {
  const profile = profiles.get('default');
  if (!profile) throw new Error('there is no profile');
  t.equal(lateOptionsOf(profile, { maxTurns: 2 }), undefined);
  t.equal(lateOptionsOf(profile, { maxBudgetUsd: 1 }), undefined);
  t.match(lateOptionsOf(profile, { model: 'sonnet' }), { model: 'sonnet' });
});
