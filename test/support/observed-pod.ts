/**
 * A pod in a container's cgroup under a real Prometheus: init, the write-back sidecar and the supervisor
 * with the real CLI and an MCP server that leaks when it is told to, scraped as the ServiceMonitors of
 * manifests/ have it done. Owns all of it, and ends it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { BerthPod } from '../soak/credentials-pod.ts';
import { openWorld, type World } from '../soak/credentials-world.ts';
import { type MadeCgroup, makeMemoryCgroup } from './memory-cgroup.ts';
import type { LogLine } from './programs.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { until } from './until.ts';

export interface ObservedPod {
  world: World;
  pod: BerthPod;
  cgroup: MadeCgroup;
  prometheus: Prometheus;
  lines: readonly LogLine[];
  /** Waits for scrapes of both programs after that time, in seconds since 1970; by default, now. */
  scraped(time?: number): Promise<void>;
  close(): Promise<void>;
}

export interface ObservedPodOptions {
  /** Seconds between two scrapes. */
  interval: number;
  /** Bytes that the container may have. */
  memory: number;
  /** Milliseconds that the first access token lives, and those that it is refreshed to. */
  lifetime: number;
  refreshed: number;
  settings: Record<string, string>;
}

/** What a repository's settings.json must allow for the leak, and for commands. */
const allowed = JSON.stringify({ permissions: { allow: ['mcp__leak-1__leak', 'Bash'] } });
/** What a person has tried on the volume without committing it. */
const tried = '{"hooks":{}}\n';
const rulesFile = '../../manifests/components/monitoring/prometheus-rule.yaml';

/** @param directory an empty one, for everything that is made */
export async function startObservedPod(
  directory: string,
  { interval, memory, settings, ...login }: ObservedPodOptions,
): Promise<ObservedPod> {
  const closing: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    const world = await openWorld(directory, { settings: allowed, ...login });
    closing.push(() => world.close());
    const cgroup = makeMemoryCgroup(`berth-observed-${process.pid}`, memory);
    closing.push(() => cgroup.remove());
    cgroup.allowTasks(2_000);
    const lines: LogLine[] = [];
    const pod = new BerthPod(world, {
      settings,
      cgroup: cgroup.procs,
      onLine: (line) => void lines.push(line),
    });
    closing.push(() => pod.stop());
    const server = join(import.meta.dirname, 'fixtures/mcp-that-leaks.mjs');
    const mcpServers = { 'leak-1': { command: process.execPath, args: [server] } };
    writeFileSync(join(pod.volume, '.claude.json'), JSON.stringify({ mcpServers }));
    writeFileSync(join(pod.volume, 'settings.json'), tried);
    world.logIn();
    await pod.start();
    const labels = { namespace: 'tools', pod: 'berth-6c9f7d5b44-x2lqm', job: 'berth' };
    const { spec } = parse(readFileSync(join(import.meta.dirname, rulesFile), 'utf8'));
    const prometheus = await startPrometheus(join(directory, 'prometheus'), {
      interval,
      groups: spec.groups,
      targets: (await pod.metrics()).map((url) => ({ url, labels })),
    });
    closing.push(() => prometheus.stop());
    const scraped = async (time = Date.now() / 1_000): Promise<void> => {
      // The oldest of the latest samples of both programs.
      const latest = 'min(timestamp(berth_ready) or timestamp(berth_write_back_pending))';
      await until('all has been scraped', async () => {
        return ((await prometheus.number(latest)) ?? 0) > time;
      });
    };
    await scraped();
    return { world, pod, cgroup, prometheus, lines, scraped, close };
  } catch (error) {
    await close();
    throw error;
  }
}
