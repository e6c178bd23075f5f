/**
 * What the caller is told about tools that were refused: which, and the line that would allow it.
 * Always holds: a sentence quotes of the tool's input what a rule needs, and no more.
 */
import { isMcpTool, type Profile, toolOf } from './profile.ts';

/** As the CLI reports it; `tool_input` only where a rule could name a part of it. */
export interface Denial {
  tool_name: string;
  tool_input?: unknown;
}

/** Characters of a rule that is proposed. */
const longestRule = 120;

/** One sentence for each rule that would have to be added; twice the same is said once. */
export function warningsOf(denials: readonly Denial[], profile: Profile): string[] {
  return [...new Set(denials.map((denial) => warningOf(denial, profile)))];
}

function warningOf({ tool_name: tool, tool_input }: Denial, profile: Profile): string {
  const denied = `the tool ${tool} was denied`;
  const rule = ruleFor(tool, tool_input);
  const against = profile.tools.deny.filter((each) => toolOf(each) === tool);
  const line = `profiles.${profile.name}.tools`;
  if (against.includes(tool)) {
    return `${denied}; to allow it, remove it from ${line}.deny in the profiles file`;
  }
  const unless =
    against.length > 0 ? `, unless ${line}.deny (${against.join(', ')}) forbids it` : '';
  if (profile.tools.allow === undefined) {
    return `${denied}; to allow it, add ${JSON.stringify(rule)} to permissions.allow in settings.json of the .claude repository, or use a profile with tools.allow${unless}`;
  }
  if (profile.tools.allow.some((each) => each === tool)) {
    // The rule is there: the mode, a rule of settings.json or the request itself was in its way.
    return `${denied}, though ${line}.allow has it: see permission_mode, permissions.deny in settings.json, and allowed_tools of the request${unless}`;
  }
  return `${denied}; to allow it, add ${JSON.stringify(rule)} to ${line}.allow in the profiles file${unless}`;
}

/** The narrowest rule that is of use again: a command's first words, a site, a place. */
function ruleFor(tool: string, input: unknown): string {
  const read = (key: string): string => {
    const value = (input as Record<string, unknown> | null | undefined)?.[key];
    return typeof value === 'string' ? value : '';
  };
  if (tool === 'Bash') {
    const words = /^[\w./-]+(?: [a-z][\w-]*)?(?=\s|$)/.exec(read('command').trim())?.[0];
    return words && words.length <= longestRule ? `Bash(${words}:*)` : tool;
  }
  if (tool === 'WebFetch') {
    const host = URL.parse(read('url'))?.hostname;
    return host && host.length <= longestRule ? `WebFetch(domain:${host})` : tool;
  }
  // Rules for Edit count for all tools that write files.
  if (tool === 'Write' || tool === 'NotebookEdit') return 'Edit(./**)';
  if (!isMcpTool(tool) && ['Edit', 'Read', 'Grep', 'Glob'].includes(tool)) return `${tool}(./**)`;
  return tool;
}

/**
 * One sentence for each tool that the model called and that is not there because the profile or the
 * request leaves it out: such calls are no denials in the CLI's result.
 * @param errors what tools that failed have said
 */
export function hiddenTools(
  errors: readonly string[],
  profile: Profile,
  allowedTools: readonly string[] | undefined,
): string[] {
  const { allow, deny } = profile.tools;
  const hidden = errors.flatMap((text) => hiddenTool(text) ?? []);
  const sentences = hidden.flatMap((tool) => {
    const has = (rules: readonly string[]): boolean => rules.some((rule) => toolOf(rule) === tool);
    if (allowedTools && !has(allowedTools) && (!allow || has(allow))) {
      return [
        `the tool ${tool} was not there; to allow it, name it in allowed_tools of the request`,
      ];
    }
    // Whatever else is not there, is none of the CLI's tools.
    return allow || has(deny) ? [warningOf({ tool_name: tool }, profile)] : [];
  });
  return [...new Set(sentences)];
}

/**
 * The tool that the CLI's answer to a call says is not there, because the profile hides it; such
 * calls are no denials in the CLI's result.
 * @param text the content of a tool result that is an error
 */
export function hiddenTool(text: string): string | undefined {
  return /^(?:<tool_use_error>)?Error: No such tool available: ([A-Za-z][\w-]{0,127})\b/.exec(
    text,
  )?.[1];
}
