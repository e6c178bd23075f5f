/** Five leaks with berth in a container of 1 GiB with cgroup v2, with the real CLI or the scripted one. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { scriptedClaude } from '../support/claude.ts';
import { startBerthIn } from './berth-in-cgroup.ts';
import { inContainer, kernelFigures } from './cgroup2-container.ts';
import { report, reportFigure } from './cgroup2-report.ts';
import { countAnswers, type Leak, leakInTurn } from './memory-leaks.ts';

const rates = [200, 60, 200, 60, 200];
const leakingServer = join(import.meta.dirname, '../support/fixtures/mcp-that-leaks.mjs');

/** A command that leaks, because the scripted CLI has no MCP servers. */
function leakByCommand(rate: number): string {
  const call = { id: 1, method: 'tools/call', params: { arguments: { rate, most: 4_000 } } };
  const command = `echo '${JSON.stringify(call)}' | '${process.execPath}' '${leakingServer}'`;
  return `[[tool Bash ${JSON.stringify({ command })}]] [[say carried on]]`;
}

/** Starts much faster than the real CLI: a machine with other work needs an hour for that. */
export const leakWithScriptedCli = () =>
  leakInContainer({
    settings: { BERTH_CLAUDE_PATH: scriptedClaude },
    prompt: leakByCommand,
  });

export async function leakInContainer({
  settings = {},
  prompt,
}: {
  settings?: Record<string, string>;
  prompt?: (rate: number) => string;
} = {}): Promise<void> {
  const directory = `/root/leaks-${process.hrtime.bigint()}`;
  mkdirSync(directory);
  let figures: Record<string, number> = {};
  const onLeak = ({ rate, reply, decision, detection }: Leak): void =>
    report('leak', { rate, status: reply.status, ...reply.body, decision, detection });
  const start: typeof startBerthIn = async (...[folder, options]) => {
    const berth = await startBerthIn(folder, { ...options, settings, within: inContainer });
    report('started', { lines: berth.program.lines });
    const stop = async () => {
      figures = kernelFigures(berth.cgroup);
      report('log', { lines: berth.program.lines.filter(({ level }) => level !== 'info') });
      await berth.stop();
    };
    return { ...berth, stop };
  };
  const { leaks, others, kernelKills } = await leakInTurn({
    ...(prompt ? { prompt } : {}),
    directory,
    rates,
    start,
    onLeak,
  });
  const replies = [...leaks.map(({ reply }) => reply), ...others];
  const recycled = leaks.filter(({ reply }) => reply.body.recycle_reason === 'memory');
  reportFigure('leaks', leaks.length, rates.length);
  reportFigure('leaking turns continued because of memory', recycled.length, rates.length);
  reportFigure('other turns', countAnswers(others));
  reportFigure('lost turns', replies.filter(({ status }) => status !== 200).length, 0);
  reportFigure('kernel kills', kernelKills, 0);
  reportFigure(
    'detected, ms after hard',
    leaks.map((leak) => Math.round(leak.detection)).join(' '),
  );
  for (const [name, value] of Object.entries(figures)) {
    const zero = /^(events oom|events oom_kill|events oom_group_kill|swapped)$/.test(name);
    reportFigure(`with berth: ${name}`, value, zero ? 0 : undefined);
  }
}
