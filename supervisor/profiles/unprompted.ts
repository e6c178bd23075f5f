/**
 * What keeps the CLI (2.1.330) from turns that nobody prompted for. The end of work in the background
 * still begins one: that report belongs to the prompt which began the work.
 */

/** The model is not offered these. */
export const schedulingTools: readonly string[] = [
  'CronCreate',
  'CronDelete',
  'CronList',
  'ScheduleWakeup',
  'RemoteTrigger',
  // Wakes the model with each line that a command writes.
  'Monitor',
  // Find and wake other sessions of the same configuration directory, whoever owns them.
  'ListAgents',
  'SendMessage',
];

/**
 * Turns the scheduler off. Without that, a process also runs what `.claude/scheduled_tasks.json` of its
 * working directory says, which sessions share.
 */
export const noSchedule = { CLAUDE_CODE_DISABLE_CRON: '1' } as const;
