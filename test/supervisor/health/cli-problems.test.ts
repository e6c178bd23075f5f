import t from 'tap';
import type { HealthReport } from '../../../supervisor/claude/cli-health.ts';
import { CliProblems, healthWarnings } from '../../../supervisor/health/cli-problems.ts';
import { captureLog } from '../../support/captured-log.ts';

const server = (name: string, problem?: string): HealthReport => ({
  ...{ kind: 'mcp_server', name, problem },
});
const hook = (problem?: string): HealthReport => ({ kind: 'hook', name: 'Stop', problem });

t.test('a problem is logged when it begins, changes and ends, and not between', async (t) => {
  const log = captureLog();
  const problems = new CliProblems(log.log);
  problems.note('default', [server('files', 'failed')]);
  problems.note('default', [server('files', 'failed')]);
  t.equal(log.count('cli_problem'), 1);
  const since = problems.all[0]?.since;
  problems.note('default', [server('files', 'failed: no such file')]);
  t.match(problems.all, [
    { profile: 'default', kind: 'mcp_server', name: 'files', problem: 'failed: no such file' },
  ]);
  t.equal(problems.all[0]?.since, since, 'the time of its begin stays');
  problems.note('default', [server('files')]);
  problems.note('default', [server('files')]);
  t.strictSame(problems.all, []);
  t.same(
    log.lines.map(({ level, msg }) => `${level}: ${msg}`),
    [
      'warn: the MCP server files does not work: failed',
      'warn: the MCP server files does not work: failed: no such file',
      'info: the MCP server files works again',
    ],
  );
});

t.test('a server that a process no longer has is no problem; a hook stays', async (t) => {
  const problems = new CliProblems(captureLog().log);
  problems.note('default', [server('old', 'failed'), hook('exit code 1')]);
  problems.note('other', [server('new')]);
  t.equal(problems.all.length, 2, 'another profile changes nothing');
  problems.note('default', []);
  t.equal(problems.all.length, 2, 'nor does a process that reports no server');
  problems.note('default', [server('new')]);
  t.match(problems.all, [{ kind: 'hook', name: 'Stop' }]);
  problems.forget();
  t.strictSame(problems.all, []);
});

t.test('the list of problems is bounded', async (t) => {
  const problems = new CliProblems(captureLog().log);
  const reports = Array.from({ length: 600 }, (_, index) => server(`server-${index}`, 'failed'));
  problems.note('default', reports);
  t.equal(problems.all.length, 500);
});

t.test('an answer warns of each problem, but for servers that the profile forbids', async (t) => {
  const reports: HealthReport[] = [
    ...[server('my files', 'failed'), server('other', 'failed'), server('good')],
    ...[hook('exit code 1'), { kind: 'skill' as const, name: 'review', problem: 'unreadable' }],
  ];
  const few = healthWarnings(reports, { tools: { allow: ['mcp__my_files__read'], deny: [] } });
  t.same(few, [
    'the MCP server my files has no connection, and its tools were not there: failed',
    'the hook Stop failed, and its check did not run: exit code 1',
    'the skill review was not loaded: unreadable',
  ]);
  t.equal(healthWarnings(reports, { tools: { allow: ['mcp__*'], deny: [] } }).length, 4);
  t.equal(healthWarnings(reports, { tools: { allow: undefined, deny: [] } }).length, 4);
});
