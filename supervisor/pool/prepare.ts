/** Makes a new CLI process ready for its first prompt. */
import { BerthError } from '../../shared/errors.ts';
import { askServers } from '../claude/mcp-servers.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { Order } from './process-spec.ts';

/** Milliseconds in which a process must answer, its MCP servers within their default of 30 s included. */
const patience = 60_000;
/** Milliseconds for all but the MCP servers. */
const own = 30_000;

/** The first turn waits for MCP servers as long as MCP_TIMEOUT says. */
const withServers = (patience: number, { timeouts }: ClaudeProcess): number =>
  timeouts.start === undefined ? patience : Math.max(patience, timeouts.start + own);

/** The CLI answers it by itself: "Blank prompt — the message was only whitespace". */
const blankPrompt = ' ';

/**
 * Waits until the process answers, and has it do once what its first turn would otherwise have to
 * do: a blank prompt is a turn without a model, and makes the first real one faster. It leaves nothing
 * in the conversation that the model would be shown.
 * @param bound milliseconds in which it must answer; more where MCP servers may take longer to start
 * @throws BerthError `session_not_found` if the session to resume is unknown to the CLI,
 *   `cli_unavailable` if the process ends or says nothing
 */
export async function prepareWorker(
  process: ClaudeProcess,
  { sessionId, resumes }: Pick<Order, 'sessionId' | 'resumes'>,
  bound = patience,
): Promise<void> {
  try {
    await within(withServers(bound, process), prime(process, resumes));
  } catch (error) {
    throw (resumes && unknownToCli(error, sessionId)) || error;
  }
}

async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(
      new BerthError(
        'cli_unavailable',
        `cannot start the CLI: it did not answer within ${milliseconds / 1_000} s; see whether an MCP server or a hook of the .claude repository hangs`,
      ),
    );
  }, milliseconds);
  try {
    return await Promise.race([work, overdue]);
  } finally {
    clearTimeout(timer);
  }
}

async function prime(process: ClaudeProcess, resumes: boolean): Promise<void> {
  await process.control({ subtype: 'initialize' });
  if (!resumes) await process.run(blankPrompt);
  if (process.health.unexplained) await askServers(process);
}

function unknownToCli(error: unknown, sessionId: string | undefined): BerthError | undefined {
  const said = error instanceof BerthError ? error.message : '';
  if (!said.includes('No conversation found')) return undefined;
  return new BerthError(
    'session_not_found',
    `cannot continue the session ${sessionId ?? 'that is to be copied'}: its transcript is not on the volume any more; leave session_id out to begin one`,
  );
}
