/**
 * Checks `hooks` of a settings.json for problems that the CLI does not report.
 * Invariant: these are the rules of the CLI 2.1.330. If the CLI cannot read a PreToolUse or
 * PermissionRequest hook, it ignores the whole file. If it cannot read another hook, it ignores the
 * hooks of that event. In both cases the CLI prints nothing.
 */
import type { SettingsProblem } from './settings-problem.ts';

/** The events of the CLI 2.1.330. */
const events = [
  ...['PreToolUse', 'PostToolUse', 'PostToolUseFailure', 'PostToolBatch', 'Notification'],
  ...['UserPromptSubmit', 'UserPromptExpansion', 'SessionStart', 'SessionEnd', 'Stop'],
  ...['StopFailure', 'SubagentStart', 'SubagentStop', 'PreCompact', 'PostCompact'],
  ...['PreModelSwitch', 'PostModelSwitch', 'PermissionRequest', 'PermissionDenied', 'Setup'],
  ...['TeammateIdle', 'TaskCreated', 'TaskCompleted', 'Elicitation', 'ElicitationResult'],
  ...['ConfigChange', 'WorktreeCreate', 'WorktreeRemove', 'InstructionsLoaded', 'CwdChanged'],
  ...['FileChanged', 'DirectoryAdded', 'MessageDisplay'],
];

const hookTypes = ['command', 'prompt', 'agent', 'http', 'mcp_tool'];

type Json = Record<string, unknown>;

/** @param hooks the value of the key `hooks`; undefined if the key is absent */
export function hookProblems(hooks: unknown): SettingsProblem[] {
  if (hooks === undefined) return [];
  if (!isRecord(hooks)) {
    return [
      {
        path: 'hooks',
        message: 'it must be an object with one key for each event',
        loses: 'guard',
      },
    ];
  }
  return Object.entries(hooks).flatMap(([event, matchers]): SettingsProblem[] => {
    const path = `hooks.${event}`;
    // A newer CLI may know this event, so the event is no reason to refuse the file.
    if (!events.includes(event)) {
      return [{ path, message: 'this event is unknown to berth', loses: 'part' }];
    }
    const loses = event === 'PreToolUse' || event === 'PermissionRequest' ? 'all' : 'guard';
    return problemsOf(matchers, path).map((problem) => ({ ...problem, loses }));
  });
}

function problemsOf(matchers: unknown, path: string): Omit<SettingsProblem, 'loses'>[] {
  if (!Array.isArray(matchers)) return [{ path, message: 'it must be an array of matchers' }];
  return matchers.flatMap((entry: unknown, index) => {
    const at = `${path}.${index}`;
    if (!isRecord(entry)) return [{ path: at, message: 'it must be an object' }];
    if (entry.matcher !== undefined && typeof entry.matcher !== 'string') {
      return [{ path: `${at}.matcher`, message: 'it must be a string' }];
    }
    if (!Array.isArray(entry.hooks))
      return [{ path: `${at}.hooks`, message: 'it must be an array' }];
    return entry.hooks.flatMap((hook: unknown, order) => {
      const message = hookProblem(hook);
      return message === undefined ? [] : [{ path: `${at}.hooks.${order}`, message }];
    });
  });
}

function hookProblem(hook: unknown): string | undefined {
  if (!isRecord(hook)) return 'it must be an object';
  const { type, command, timeout } = hook;
  if (typeof type !== 'string' || !hookTypes.includes(type)) {
    return `its type must be one of ${hookTypes.join(', ')}`;
  }
  if (type === 'command' && typeof command !== 'string') return 'its command must be a string';
  if (timeout !== undefined && typeof timeout !== 'number') {
    return 'its timeout must be a number of seconds';
  }
  return undefined;
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
