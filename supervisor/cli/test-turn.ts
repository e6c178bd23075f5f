/**
 * The turn of a CLI's self-test, and what it proves: a prompt is data, a cost is reported, the instructions and the
 * skills of the configuration reach the model with the login, and a shared spare learns its options late.
 */
import { bindSpare, type LateOptions, toolDenied } from '../claude/late-options.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { UnclearResult } from '../claude/process-errors.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import { type TestRequest, type ToolCall, textsOf } from './test-api.ts';
import { instructions, skill } from './test-configuration.ts';

/** A harmless command that every version of the CLI has. */
const prompt = '/help';

/** What the process learns late. */
const late = {
  model: 'sonnet',
  // settings.json of the test configuration has a mode that would allow Write.
  permissionMode: 'manual',
  systemPrompt: 'berth-self-test: system prompt',
  appendSystemPrompt: 'berth-self-test: appended instructions',
  outputSchema: {
    type: 'object',
    properties: { answer: { type: 'string' } },
    required: ['answer'],
  },
  onlyTools: ['Write'],
} satisfies LateOptions;

/** The tools that the process may use by its flags. */
export const allowedAtStart = ['Bash'];

/** Milliseconds for a spare to learn its options. The result counts for the life of the supervisor, and no prompt waits. */
const patience = 30_000;

/** The calls of the model in the test: two that must be denied, and its answer. */
export const testCalls: readonly ToolCall[] = [
  { name: 'Bash', input: { command: 'true' } },
  { name: 'Write', input: { file_path: 'berth-self-test', content: '' } },
  { name: 'StructuredOutput', input: { answer: 'ok' } },
];

export interface TestedTurn {
  /** False if the CLI called another API, as the managed settings of an image may require. */
  proven: boolean;
  /** Why the process cannot learn its options late; undefined if it can. */
  lateProblem: string | undefined;
}

/**
 * Makes the process ready as a shared spare.
 * @returns why it cannot be one; then it must not get the prompt
 */
export async function makeSpare(process: ClaudeProcess): Promise<string | undefined> {
  try {
    await process.control({ subtype: 'mcp_status' });
    await process.control({ subtype: 'reload_skills' });
    await bindSpare(process, late, patience);
    return undefined;
  } catch (error) {
    if (!process.alive) throw error;
    return String((error as Error).message);
  }
}

/** @throws Error that names what the CLI fails */
export async function runTestTurn(
  process: ClaudeProcess,
  requests: readonly TestRequest[],
  login: string,
): Promise<TestedTurn> {
  const result = await process.run(prompt).catch(resultOf);
  // A CLI may ask the model for something of its own too, such as a title.
  const first = requests.find((request) => textsOf(request).includes(prompt));
  if (requests.length === 0 && (result.isError || result.costUsd > 0)) {
    return { proven: false, lateProblem: 'it called another API' };
  }
  // The text of an executed command would be inside tags, or absent.
  if (!first) throw new Error('it runs commands in a prompt');
  if (result.isError) throw new Error(`it does not accept the answer of a model: ${result.result}`);
  if (result.costUsd === 0) throw new Error('it does not report the cost of a turn');
  if (!first.text.includes(instructions)) {
    throw new Error('the instructions of CLAUDE.md do not reach the model');
  }
  if (!first.text.includes(skill)) throw new Error('the skills do not reach the model');
  if (requests.some((request) => request.login !== login)) {
    throw new Error('it does not send the login');
  }
  return { proven: true, lateProblem: lateProblemIn(first, requests, result) };
}

function lateProblemIn(
  { body, text }: TestRequest,
  requests: readonly TestRequest[],
  { structuredOutput, permissionDenials }: TurnResult,
): string | undefined {
  const answer = (structuredOutput as { answer?: unknown } | undefined)?.answer;
  if (!body.model.includes(late.model)) return 'the model had no effect';
  if (!text.includes(late.systemPrompt)) return 'the system prompt had no effect';
  if (!text.includes(late.appendSystemPrompt)) return 'the appended instructions had no effect';
  if (answer !== 'ok') return 'the schema had no effect';
  // Rules of the image may deny Bash too: only the text shows that the list of tools did.
  if (!requests.some((request) => request.text.includes(toolDenied))) {
    return 'a list of tools had no effect';
  }
  const denied = permissionDenials.map(({ tool_name }) => tool_name);
  return denied.includes('Write') ? undefined : 'the permission mode had no effect';
}

/** Earlier CLIs do not name the prompt of a result; here there is only one prompt. */
function resultOf(error: unknown): TurnResult {
  if (error instanceof UnclearResult) return error.result;
  throw error;
}
