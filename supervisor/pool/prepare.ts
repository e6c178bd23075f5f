/** Makes a new CLI process ready for its first prompt. */
import { BerthError } from '../../shared/errors.ts';
import { withDeadline } from '../../shared/waiting.ts';
import { queryServers } from '../claude/mcp-servers.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { ProcessSpec } from './process-spec.ts';

/** Milliseconds in which a process must be ready, including the 30 s that its MCP servers may take. */
const patience = 60_000;
/** Milliseconds for everything except the MCP servers. */
const own = 30_000;

/** The first turn waits for MCP servers for as long as MCP_TIMEOUT allows. */
const withServers = (patience: number, { timeouts }: ClaudeProcess): number =>
  timeouts.start === undefined ? patience : Math.max(patience, timeouts.start + own);

/** The CLI answers this prompt without a model: "Blank prompt — the message was only whitespace". */
const blankPrompt = ' ';

/**
 * Waits until the process replies, and runs a blank prompt. That is a turn without a model, which makes the
 * first real turn faster and adds nothing to the conversation that the model sees. A shared spare gets neither.
 * @param bound milliseconds in which the process must be ready; more if MCP servers may take longer to start
 * @throws BerthError `session_not_found` if the session to resume is unknown to the CLI,
 *   `cli_unavailable` if the process ends or does not reply
 */
export async function prepareWorker(
  process: ClaudeProcess,
  { sessionId, resumes, shared }: Pick<ProcessSpec, 'sessionId' | 'resumes' | 'shared'>,
  bound = patience,
): Promise<void> {
  try {
    const whole = withServers(bound, process);
    const primed = shared ? primeSpare(process) : prime(process, resumes);
    await withDeadline(primed, whole, () => tooSlow(whole));
  } catch (error) {
    throw (resumes && unknownToCli(error, sessionId)) || error;
  }
}

function tooSlow(milliseconds: number): BerthError {
  return new BerthError(
    'cli_unavailable',
    `cannot start the CLI: it did not answer within ${milliseconds / 1_000} s; see whether an MCP server or a hook of the .claude repository hangs`,
  );
}

async function prime(process: ClaudeProcess, resumes: boolean): Promise<void> {
  await process.control({ subtype: 'initialize' });
  if (!resumes) await process.run(blankPrompt);
  if (process.health.unexplained) await queryServers(process);
}

/**
 * A blank prompt, or `initialize`, would fix the options of a shared spare. These requests start nearly as
 * much, the MCP servers included.
 */
async function primeSpare(process: ClaudeProcess): Promise<void> {
  await queryServers(process);
  await process.control({ subtype: 'reload_skills' });
}

function unknownToCli(error: unknown, sessionId: string | undefined): BerthError | undefined {
  const said = error instanceof BerthError ? error.message : '';
  if (!said.includes('No conversation found')) return undefined;
  return new BerthError(
    'session_not_found',
    `cannot continue the session ${sessionId ?? 'that is to be copied'}: its transcript is not on the volume any more; omit session_id to begin a session`,
  );
}
