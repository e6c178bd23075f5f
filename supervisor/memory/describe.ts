/** A decision of the guard, told in a sentence and in the numbers that led to it. */
import { formatSize } from '../../shared/units.ts';
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
  mark: 'is recycled when its turn is over',
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

function size(bytes: number | undefined): string {
  return bytes === undefined ? 'unknown' : formatSize(Math.max(0, Math.round(bytes)));
}

/** JSON knows no infinity. */
function whole(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? Math.round(value) : undefined;
}
