/**
 * What a started process can still learn before its first prompt, so that one spare can serve prompts that
 * differ in it: by `initialize`, `set_model` and `set_permission_mode` (described in the types of the Agent SDK;
 * seen with the CLI 2.1.330). docs/architecture.md has why it is not `--await-claim` or `apply_flag_settings`.
 * Invariants: `initialize` counts once, before the first prompt, a blank one included. A process that has not
 * acknowledged everything must not get the prompt.
 */
import { BerthError } from '../../shared/errors.ts';
import { withDeadline } from '../../shared/waiting.ts';
import type { CliOptions } from './flags.ts';
import type { ClaudeProcess } from './process.ts';
import { type ControlRequest, toolHook } from './protocol.ts';

export interface LateOptions
  extends Pick<
    CliOptions,
    'model' | 'permissionMode' | 'systemPrompt' | 'appendSystemPrompt' | 'outputSchema'
  > {
  /**
   * The only tools that may be used, `mcp__server` for all tools of a server. The model is still offered the
   * others, and each use of them is denied. Deny rules would not do: under managed rules they are ignored.
   */
  onlyTools?: readonly string[] | undefined;
}

/** The options that a process needs at its start, and those that it can learn later. */
export function splitOptions(options: CliOptions): { fixed: CliOptions; late: LateOptions } {
  const { model, systemPrompt, appendSystemPrompt, outputSchema, permissionMode, ...fixed } =
    options;
  const late = { model, systemPrompt, appendSystemPrompt, outputSchema };
  // The CLI takes this mode only if its start allows it.
  return permissionMode === 'bypassPermissions'
    ? { fixed: { ...fixed, permissionMode }, late }
    : { fixed, late: { ...late, permissionMode } };
}

/** Milliseconds for the acknowledgements; they take some 30. A prompt waits for them. */
const patience = 5_000;

/** A spare that has not acknowledged its options in time: that says nothing about the options. */
export class SpareTooLate extends BerthError {
  constructor() {
    super('cli_unavailable', 'cannot bind a spare: the CLI does not reply');
  }
}

/**
 * Gives a spare that had no `initialize` its options.
 * @param longest milliseconds for its acknowledgements
 * @throws BerthError `cli_unavailable` if the process refuses one of them, or ends
 * @throws SpareTooLate
 */
export async function bindSpare(
  process: ClaudeProcess,
  late: LateOptions,
  longest = patience,
): Promise<void> {
  const { onlyTools } = late;
  if (onlyTools) process.judgeToolsBy((tool) => reasonAgainst(tool, onlyTools));
  const requests = requestsFor(late).map((request) => process.control(request));
  await withDeadline(Promise.all(requests), longest, () => new SpareTooLate());
}

/** Gives the answer with `outputSchema`; it does nothing else. */
const answering = 'StructuredOutput';

/** What the model reads when it uses another tool. */
export const toolDenied = 'this request does not allow the tool';

function reasonAgainst(tool: string | undefined, only: readonly string[]): string | undefined {
  const allowed = only.some((name) => tool === name || (isServer(name) && isOf(name, tool)));
  return allowed || tool === answering ? undefined : toolDenied;
}

/** `mcp__server`, which stands for all tools of the server. */
function isServer(name: string): boolean {
  return name.split('__').length === 2;
}

function isOf(server: string, tool: string | undefined): boolean {
  return tool?.startsWith(`${server}__`) === true;
}

function requestsFor(late: LateOptions): ControlRequest[] {
  const { model, permissionMode: mode, systemPrompt, appendSystemPrompt, onlyTools } = late;
  return [
    {
      subtype: 'initialize',
      ...(systemPrompt === undefined ? {} : { systemPrompt: [systemPrompt] }),
      ...(appendSystemPrompt === undefined ? {} : { appendSystemPrompt }),
      ...(late.outputSchema === undefined ? {} : { jsonSchema: late.outputSchema }),
      ...(onlyTools === undefined ? {} : { hooks: toolHook }),
    },
    ...(model === undefined ? [] : [{ subtype: 'set_model' as const, model }]),
    ...(mode === undefined ? [] : [{ subtype: 'set_permission_mode' as const, mode }]),
  ];
}
