/**
 * Checks a settings.json for problems that the CLI does not report: it ignores the whole file, one
 * rule or one hook.
 * Invariants: these are the rules of the CLI 2.1.330; a test compares them with the real CLI. The
 * CLI checks more than berth, so a file without a problem here may still have one. Therefore the
 * supervisor also queries the CLI (supervisor/claude/settings-in-force.ts).
 */
import { hookProblems } from './cli-hooks.ts';
import type { SettingsProblem } from './settings-problem.ts';

/**
 * Types of the keys that the CLI checks. The CLI ignores the whole file if a key has another type.
 */
const types: Readonly<Record<string, readonly string[]>> = {
  string: [
    ...['agent', 'apiKeyHelper', 'awsAuthRefresh', 'awsCredentialExport', 'defaultShell'],
    ...['forceLoginOrgUUID', 'gcpAuthRefresh', 'language', 'model', 'otelHeadersHelper'],
    ...['outputStyle', 'plansDirectory', 'processWrapper'],
  ],
  boolean: [
    ...['allowManagedHooksOnly', 'allowManagedMcpServersOnly', 'allowManagedPermissionRulesOnly'],
    ...['alwaysThinkingEnabled', 'autoCompactEnabled', 'autoMemoryEnabled', 'disableAllHooks'],
    ...['disableBundledSkills', 'disableClaudeAiConnectors', 'disableSkillShellExecution'],
    ...['disableWorkflows', 'enableAllProjectMcpServers', 'enforceAvailableModels', 'fastMode'],
    ...['fileCheckpointingEnabled', 'includeCoAuthoredBy', 'includeGitInstructions'],
    ...['respectGitignore', 'skipDangerousModePermissionPrompt', 'skipWebFetchPreflight'],
  ],
  number: ['cleanupPeriodDays', 'skillListingBudgetFraction', 'skillListingMaxDescChars'],
  object: [
    ...['attribution', 'autoMode', 'enabledPlugins', 'env', 'modelOverrides', 'permissions'],
    ...['pluginConfigs', 'sandbox', 'skillOverrides', 'statusLine', 'worktree'],
  ],
  array: [
    ...['allowedHttpHookUrls', 'availableModels', 'blockedMarketplaces', 'claudeMdExcludes'],
    ...['fallbackModel', 'httpHookAllowedEnvVars', 'strictKnownMarketplaces'],
  ],
};

export const typeOfKey: ReadonlyMap<string, string> = new Map(
  Object.entries(types).flatMap(([type, keys]) => keys.map((key) => [key, type] as const)),
);

const modes = ['acceptEdits', 'auto', 'bypassPermissions', 'default', 'dontAsk', 'manual', 'plan'];

type Json = Record<string, unknown>;

/** Decodes the text as the CLI does: UTF-8 or UTF-16LE, without the byte order mark. */
export function textOfSettings(content: Buffer): string {
  const wide = content[0] === 0xff && content[1] === 0xfe;
  return content.toString(wide ? 'utf16le' : 'utf8').replace(/^\ufeff/, '');
}

/** @param content of a settings.json */
export function settingsProblems(content: Buffer): SettingsProblem[] {
  const text = textOfSettings(content);
  if (text.trim() === '') return [whole('it is empty')];
  let settings: unknown;
  try {
    settings = JSON.parse(text);
  } catch (error) {
    return [whole(`it is not valid JSON${whereIn(text, error)}`)];
  }
  if (!isObject(settings)) return [whole(`it must be an object, and is ${typeOf(settings)}`)];
  return [...typeProblems(settings), ...ruleProblems(settings), ...hookProblems(settings.hooks)];
}

/**
 * The problems that disable a guard. A file with such a problem does not replace a good file, and
 * prompts do not run with it.
 */
export function disarming(problems: readonly SettingsProblem[]): SettingsProblem[] {
  return problems.filter(({ loses }) => loses !== 'part');
}

/** Formats a problem: "permissions.deny must be an array, and is a string". */
export function describeSettingsProblem({
  path,
  message,
}: Pick<SettingsProblem, 'path' | 'message'>): string {
  return path === '' ? message : `${path}: ${message}`;
}

function whole(message: string, path = ''): SettingsProblem {
  return { path, message, loses: 'all' };
}

/**
 * Where the JSON is wrong: conflict markers or a comment, if there are any; otherwise the line. The
 * wording of the JavaScript engine varies.
 */
function whereIn(text: string, error: unknown): string {
  if (/^(<{7}|={7}|>{7})( |$)/m.test(text)) return ' (it has the conflict markers of a merge)';
  const said = error instanceof Error ? error.message : '';
  const line =
    /line (\d+)/.exec(said)?.[1] ??
    (/position (\d+)/.exec(said)?.[1] === undefined
      ? undefined
      : text.slice(0, Number(/position (\d+)/.exec(said)?.[1])).split('\n').length);
  const comment = /(?:^|\n)[^\S\n]*(?:\/\/|\/\*)/.test(text)
    ? ', and JSON does not allow comments'
    : '';
  return line === undefined ? ` (it ends too early${comment})` : ` (line ${line}${comment})`;
}

function typeProblems(settings: Json): SettingsProblem[] {
  const problems = Object.entries(settings).flatMap(([key, value]) => {
    const wanted = typeOfKey.get(key);
    return wanted === undefined || typeOf(value) === wanted ? [] : [mismatch(key, wanted, value)];
  });
  const { permissions } = settings;
  if (!isObject(permissions)) return problems;
  for (const key of ['allow', 'ask', 'deny', 'additionalDirectories']) {
    const value = permissions[key];
    if (value !== undefined && !Array.isArray(value)) {
      problems.push(mismatch(`permissions.${key}`, 'array', value));
    }
  }
  const { defaultMode } = permissions;
  if (defaultMode !== undefined && !modes.includes(String(defaultMode))) {
    problems.push(whole(`it must be one of ${modes.join(', ')}`, 'permissions.defaultMode'));
  }
  return problems;
}

function mismatch(path: string, wanted: string, value: unknown): SettingsProblem {
  return whole(`it must be ${withArticle(wanted)}, and is ${withArticle(typeOf(value))}`, path);
}

/** The CLI silently ignores a single rule that it cannot read. */
function ruleProblems({ permissions }: Json): SettingsProblem[] {
  if (!isObject(permissions)) return [];
  return ['deny', 'ask', 'allow'].flatMap((key): SettingsProblem[] => {
    const rules = permissions[key];
    if (!Array.isArray(rules)) return [];
    const loses = key === 'allow' ? 'part' : 'guard';
    return rules.flatMap((rule, index) => {
      const message = ruleProblem(rule);
      return message === undefined ? [] : [{ path: `permissions.${key}.${index}`, message, loses }];
    });
  });
}

function ruleProblem(rule: unknown): string | undefined {
  if (typeof rule !== 'string') return 'a rule must be a string';
  const [, tool = '', , content] = /^([^()]*)(\((.*)\))?$/s.exec(rule.trim()) ?? [];
  if (tool === '') return 'a rule names a tool, such as Read or "Bash(git push:*)"';
  if (!tool.includes('_') && tool[0] !== tool[0]?.toUpperCase()) {
    return 'the name of a tool begins with a capital letter';
  }
  if (content?.trim() === '') return 'its parentheses are empty';
  if (content !== undefined && tool.startsWith('mcp__'))
    return 'parentheses may not follow an MCP tool';
  if (tool === 'Bash' && content === ':*') return 'a command must precede :*';
  return undefined;
}

export function isObject(value: unknown): value is Json {
  return typeOf(value) === 'object';
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function withArticle(type: string): string {
  if (type === 'null') return type;
  return `${/^[ao]/.test(type) ? 'an' : 'a'} ${type}`;
}
