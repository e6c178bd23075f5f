/** A scheduled task of the CLI that is due already: it fires in the first process that runs there. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Leaves the task in a working directory, where the CLI keeps tasks that outlive their process.
 * @param prompt what the CLI gives itself to do, once
 */
export function leaveScheduledTask(workingDirectory: string, prompt: string): void {
  const directory = join(workingDirectory, '.claude');
  const createdAt = Date.now() - 120_000;
  const task = { id: 'abcd1234', cron: '* * * * *', prompt, createdAt, recurring: true };
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'scheduled_tasks.json'), JSON.stringify({ tasks: [task] }));
}
