/**
 * Going on with a turn whose process was lost: what a new process of the session is told, and what the
 * lost one had used by then, as far as the CLI has written it down.
 * The CLI itself fills the gap in the conversation: it tells the model that the outcome of the tool
 * that ran is unknown (as 2.1.330 does), so tools have run at least once and nothing is repeated blindly.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import split2 from 'split2';
import { z } from 'zod';
import type { Usage } from '../claude/turn-result.ts';
import { addUsage, noUsage } from './session-record.ts';

/** What to say to a process that resumes a session in whose transcript the prompt stands. */
export const carryOn = 'Your process was replaced. Carry on where you stopped.';

/** Bytes of a transcript that are searched, from its end. */
const searched = 64 * 1024 * 1024;
const piece = 1024 * 1024;
/** Longer ones are skipped. */
const lines = { maxLength: 16 * 1024 * 1024, skipOverflow: true };

/** What is found of a turn in its transcript. */
export interface TurnTrace {
  usage: Usage;
  /** Answers of the model. */
  answers: number;
}

/**
 * What the transcript has of a turn; undefined if its prompt does not stand there.
 * @param promptId the id with which the prompt was handed over, which the CLI writes beside it
 */
export async function traceTurn(
  transcript: string,
  promptId: string,
): Promise<TurnTrace | undefined> {
  const file = await open(transcript, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const at = await find(file, Buffer.from(`"uuid":"${promptId}"`));
    return at === undefined ? undefined : await sumFrom(file, at);
  } finally {
    await file.close();
  }
}

async function find(file: FileHandle, wanted: Buffer): Promise<number | undefined> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(piece + wanted.length);
  for (let end = size; end > Math.max(0, size - searched); end -= piece) {
    const start = Math.max(0, end - piece);
    // Pieces overlap, so that what lies across their border is found.
    const { bytesRead } = await file.read(buffer, 0, end - start + wanted.length, start);
    const at = buffer.subarray(0, bytesRead).indexOf(wanted);
    if (at >= 0) return start + at;
  }
  return undefined;
}

const count = z.int().nonnegative().max(1e9).catch(0);

const answerLine = z.object({
  type: z.literal('assistant'),
  message: z.object({
    id: z.string().max(200),
    usage: z.object({
      input_tokens: count,
      output_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
    }),
  }),
});

/** An answer has a line for each of its blocks, and each line the usage of the whole. */
async function sumFrom(file: FileHandle, start: number): Promise<TurnTrace> {
  const answers = new Map<string, Usage>();
  const bytes = file.createReadStream({ start, end: start + searched, autoClose: false });
  // An error of the file ends the lines with it; so the callback has nothing to do.
  const split = pipeline(bytes, split2(lines), () => {});
  for await (const line of split) {
    const answer = readAnswer(line);
    if (answer) answers.set(answer.id, answer.usage);
  }
  const usage = [...answers.values()].reduce(addUsage, noUsage);
  return { usage, answers: answers.size };
}

function readAnswer(line: string): { id: string; usage: Usage } | undefined {
  if (!line.includes('"assistant"')) return undefined;
  try {
    return answerLine.safeParse(JSON.parse(line)).data?.message;
  } catch {
    // The last line of a process that was killed may be torn.
    return undefined;
  }
}
