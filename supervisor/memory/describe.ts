/** Describes the readings and decisions of the memory guard, in a sentence and in numbers. */
import type { Log } from '../../shared/log.ts';
import { formatSize } from '../../shared/units.ts';
import type { ContainerMemory } from './cgroup.ts';
import type { Action, Cause } from './policy.ts';
import type { Level } from './pressure.ts';
import { type Bounds, boundsOfWorker, type Reading } from './reading.ts';

export interface Sights {
  reading: Reading;
  bounds: Bounds;
  level: Level;
}

const doings = {
  recycle: 'is recycled',
  mark: 'is recycled when its turn ends',
  end: 'is ended now',
} as const;

type Decision = Exclude<Action, { do: 'unmark' }>;

export function describeDecision(
  action: Decision,
  sights: Sights,
): { message: string; fields: Record<string, unknown> } {
  const { reading, bounds, level } = sights;
  const { container, workers } = reading;
  const worker = workers.find(({ name }) => name === action.worker);
  const own = boundsOfWorker(worker ?? {}, bounds);
  return {
    message: `${action.worker} (${size(worker?.bytes)}) ${doings[action.do]}: ${reasonOf(action.cause, sights, action.worker)}`,
    fields: {
      worker: action.worker,
      action: action.do,
      cause: action.cause,
      grace_ms: action.do === 'end' ? action.grace : undefined,
      pressure: level,
      worker_bytes: worker?.bytes,
      worker_growth_bytes_per_second: whole(worker?.growth),
      worker_processes: worker?.processes,
      working_set_bytes: container?.workingSet,
      growth_bytes_per_second: whole(container?.growth),
      limit_bytes: container?.limit,
      soft_bytes: whole(bounds.soft),
      hard_bytes: whole(bounds.hard),
      worker_soft_bytes: whole(own.soft),
      worker_hard_bytes: whole(own.hard),
      stalled_percent: container?.stalled?.some,
      oom_kills: container?.oomKills,
      tasks: container?.tasks?.current,
      tasks_limit: container?.tasks?.limit,
    },
  };
}

function reasonOf(cause: Cause, { reading, bounds }: Sights, name: string): string {
  const { container, workers } = reading;
  const worker = workers.find((each) => each.name === name);
  const own = boundsOfWorker(worker ?? {}, bounds);
  const whose = worker?.limit === undefined ? "a worker's" : "its profile's";
  const used = `the container uses ${size(container?.workingSet)}`;
  switch (cause) {
    case 'container_soft':
      return `${used}, above its soft bound of ${size(bounds.soft)}`;
    case 'container_hard':
      return `${used}, above its hard bound of ${size(bounds.hard)}`;
    case 'container_predicted':
      return `${used}, and grows by ${size(container?.growth)} a second towards its limit of ${size(container?.limit)}`;
    case 'worker_soft':
      return `that is above ${whose} soft bound of ${size(own.soft)}`;
    case 'worker_hard':
      return `that is above ${whose} hard bound of ${size(own.hard)}`;
    case 'processes':
      return `it has ${worker?.processes} processes${container?.tasks ? `, and the container ${container.tasks.current} of the ${container.tasks.limit} tasks that its pids limit allows` : ''}`;
  }
}

/** Logs a change of the pressure level. */
export function logLevelChange(log: Log, before: Level, { reading, bounds, level }: Sights): void {
  if (level === before) return;
  const { container } = reading;
  const text = level === 'none' ? 'memory pressure is over' : `memory pressure is ${level}`;
  log.info('memory_pressure', text, {
    pressure: level,
    before,
    working_set_bytes: container?.workingSet,
    limit_bytes: container?.limit,
    soft_bytes: bounds.soft,
    hard_bytes: bounds.hard,
    growth_bytes_per_second: container?.growth && Math.round(container.growth),
  });
}

/** Logs that the kernel killed processes between the two readings. */
export function logOomKills(
  log: Log,
  before: ContainerMemory | undefined,
  now: ContainerMemory | undefined,
): void {
  const killed = (now?.oomKills ?? 0) - (before?.oomKills ?? now?.oomKills ?? 0);
  if (killed <= 0) return;
  log.error(
    'memory_oom_kill',
    `the kernel killed ${killed} processes of the container for lack of memory; raise resources.limits.memory or lower BERTH_MEMORY_HARD`,
    { oom_kills: now?.oomKills, limit_bytes: now?.limit },
  );
}

function size(bytes: number | undefined): string {
  return bytes === undefined ? 'unknown' : formatSize(Math.max(0, Math.round(bytes)));
}

/** JSON has no infinity. */
function whole(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? Math.round(value) : undefined;
}
