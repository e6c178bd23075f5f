/**
 * Warnings for the caller about refused tools: the tool, and the line that would allow it.
 * Invariant: a sentence quotes only the part of a tool's input that a rule needs.
 */
import { isMcpTool, type Profile, toolOf } from './profile.ts';

/** As the CLI reports it; `tool_input` only where a rule could name a part of it. */
export interface Denial {
  tool_name: string;
  tool_input?: unknown;
}

/** The maximum length of a proposed rule, in characters. */
const longestRule = 120;

/** One sentence for each rule that would have to be added, without duplicates. */
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
    // The rule exists: the mode, a rule of settings.json or the request itself prevented the call.
    return `${denied}, though ${line}.allow has it: see permission_mode, permissions.deny in settings.json, and allowed_tools of the request${unless}`;
  }
  return `${denied}; to allow it, add ${JSON.stringify(rule)} to ${line}.allow in the profiles file${unless}`;
}

/** The narrowest useful rule: the first words of a command, a site, a path. */
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
  // Rules for Edit apply to all tools that write files.
  if (tool === 'Write' || tool === 'NotebookEdit') return 'Edit(./**)';
  if (!isMcpTool(tool) && ['Edit', 'Read', 'Grep', 'Glob'].includes(tool)) return `${tool}(./**)`;
  return tool;
}

/**
 * One sentence for each tool that the model called although the profile or the request hides it:
 * the CLI's result does not count such calls as denials.
 * @param errors the error texts of failed tools
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
        `the tool ${tool} was not available; to allow it, name it in allowed_tools of the request`,
      ];
    }
    // Other unknown tools are not tools of the CLI.
    return allow || has(deny) ? [warningOf({ tool_name: tool }, profile)] : [];
  });
  return [...new Set(sentences)];
}

/**
 * The name of a tool that the CLI reports as unknown because the profile hides it; the CLI's result
 * does not count such calls as denials.
 * @param text the content of a tool result that is an error
 */
export function hiddenTool(text: string): string | undefined {
  return /^(?:<tool_use_error>)?Error: No such tool available: ([A-Za-z][\w-]{0,127})\b/.exec(
    text,
  )?.[1];
}
