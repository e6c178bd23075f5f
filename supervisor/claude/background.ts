/** The background work of a CLI process, as its `background_tasks_changed` lists it. */
import { z } from 'zod';

export interface BackgroundTask {
  /** `local_bash`, `local_agent` ... */
  type: string;
  description: string;
}

const tasksLine = z.object({
  tasks: z.array(
    z.object({
      task_type: z.string(),
      description: z.string().catch(''),
      /** The CLI's own housekeeping, for which no prompt waits. */
      ambient: z.boolean().catch(false),
    }),
  ),
});

/** Undefined for a line of another shape, which is no reason to end the process. */
export function readBackground(line: unknown): BackgroundTask[] | undefined {
  const { data } = tasksLine.safeParse(line);
  return data?.tasks
    .filter(({ ambient }) => !ambient)
    .map(({ task_type, description }) => ({ type: task_type, description }));
}
