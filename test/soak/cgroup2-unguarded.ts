/** Kernel kills: what a leak does to a container without berth, and how berth reports a kill. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findMemoryCgroup, readContainerMemory } from '../../supervisor/memory/cgroup.ts';
import { scriptedClaude } from '../support/claude.ts';
import { makeMemoryCgroup } from '../support/memory-cgroup.ts';
import { enterAndRun } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { startBerthIn } from './berth-in-cgroup.ts';
import { inContainer, kernelFigures } from './cgroup2-container.ts';
import { report, reportFigure } from './cgroup2-report.ts';

const mebibyte = 2 ** 20;

/** A process that takes 10 MiB every 20 ms, the first one to be killed. */
const leak = `require('fs').writeFileSync('/proc/self/oom_score_adj', '1000');
  const kept = []; setInterval(() => kept.push(Buffer.alloc(10 * 2 ** 20, 1)), 20)`;

function startIn(procs: readonly string[], ...command: string[]) {
  return spawn('sh', ['-c', enterAndRun, procs.join(' '), ...command], { stdio: 'ignore' });
}

/** The kernel ends all processes of the container, also the innocent one, and nothing is swapped. */
export async function killByKernel(): Promise<void> {
  const cgroup = makeMemoryCgroup('unguarded', 256 * mebibyte);
  cgroup.allowTasks(100);
  const directory = dirname(cgroup.procs[0] ?? '');
  const found = { version: 2 as const, directory, pids: directory };
  const innocent = startIn(cgroup.procs, 'sleep', '600');
  const leaking = startIn(cgroup.procs, process.execPath, '-e', leak);
  const ends = Promise.all([once(innocent, 'exit'), once(leaking, 'exit')]);
  let stalled = 0;
  const watch = setInterval(() => {
    stalled = Math.max(stalled, readContainerMemory(found)?.stalled?.some ?? 0);
  }, 50);
  const [[, one], [, other]] = await ends;
  clearInterval(watch);
  reportFigure('without berth: signal of the innocent process', String(one), 'SIGKILL');
  reportFigure('without berth: signal of the leaking process', String(other), 'SIGKILL');
  const read = readContainerMemory(found);
  report('reading', { read, found: findMemoryCgroup() });
  reportFigure('without berth: limit as berth reads it', read?.limit ?? -1, 256 * mebibyte);
  reportFigure('without berth: tasks as berth reads them', read?.tasks?.limit ?? -1, 100);
  reportFigure('without berth: kills as berth reads them', read?.oomKills ?? -1);
  reportFigure('without berth: most stalls as berth reads them, %', stalled);
  // `oom_kill` may count the first process twice: once alone, once with its group.
  const known: Record<string, number> = { swapped: 0, 'events oom_group_kill': 1 };
  for (const [name, value] of Object.entries(kernelFigures(cgroup))) {
    reportFigure(`without berth: ${name}`, value, known[name]);
  }
  await cgroup.remove();
}

/** Without `memory.oom.group` the kernel kills the leaking process alone: berth goes on and reports it. */
export async function seeKernelKill(): Promise<void> {
  mkdirSync('/root/seen');
  const berth = await startBerthIn('/root/seen', {
    limit: 768 * mebibyte,
    mcpServers: 0,
    settings: { BERTH_CLAUDE_PATH: scriptedClaude },
    within: inContainer,
  });
  const { cgroup, program } = berth;
  writeFileSync(join(dirname(cgroup.procs[0] ?? ''), 'memory.oom.group'), '0');
  startIn(cgroup.procs, process.execPath, '-e', leak);
  const line = await until('berth reports the kill', () =>
    program.lines.find(({ event }) => event === 'memory_oom_kill'),
  );
  report('seen', { line, figures: kernelFigures(cgroup) });
  reportFigure('a kernel kill that berth reports', cgroup.kills(), 1);
  await berth.stop();
}
