/** The thread that compiles a caller's JSON Schema as the CLI does: see schema-check.ts. */
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { Ajv } from 'ajv';
import { messageOf } from '../../shared/errors.ts';
import type { Verdict } from './schema-check.ts';

// Lowers the priority of this thread only, on Linux: answering requests comes first.
setPriority(10);

parentPort?.on('message', (schema: object) => parentPort?.postMessage(verdictOn(schema)));

function verdictOn(schema: object): Verdict {
  try {
    new Ajv({ validateFormats: false, logger: false }).compile(schema);
    return { kind: 'right' };
  } catch (error) {
    // The depth is bounded, so a stack overflow here says nothing about the schema; the CLI has a
    // larger stack.
    if (error instanceof RangeError) return { kind: 'unknown' };
    return { kind: 'wrong', cause: messageOf(error).slice(0, 300) };
  }
}
