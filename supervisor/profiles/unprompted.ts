/**
 * Prevents the CLI (2.1.330) from running turns without a prompt. The end of background work still
 * begins a turn: its report belongs to the prompt that began the work.
 */

/** Tools that are hidden from the model. */
export const schedulingTools: readonly string[] = [
  'CronCreate',
  'CronDelete',
  'CronList',
  'ScheduleWakeup',
  'RemoteTrigger',
  // Wakes the model with each line that a command writes.
  'Monitor',
  // These find and wake other sessions of the same configuration directory, also those of another token.
  'ListAgents',
  'SendMessage',
];

/**
 * Disables the scheduler. Otherwise a process would also run the tasks in
 * `.claude/scheduled_tasks.json` of its working directory, which sessions share.
 */
export const noSchedule = { CLAUDE_CODE_DISABLE_CRON: '1' } as const;
