/** The thread in which a caller's JSON Schema is compiled, as the CLI does it: see schema-check.ts. */
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { Ajv } from 'ajv';
import { messageOf } from '../../shared/errors.ts';
import type { Verdict } from './schema-check.ts';

// Of this thread alone, on Linux: what answers requests comes first.
setPriority(10);

parentPort?.on('message', (schema: object) => parentPort?.postMessage(verdictOn(schema)));

function verdictOn(schema: object): Verdict {
  try {
    new Ajv({ validateFormats: false, logger: false }).compile(schema);
    return { kind: 'right' };
  } catch (error) {
    // Its depth is bounded, so this says nothing of the schema, and the CLI has a larger stack.
    if (error instanceof RangeError) return { kind: 'unknown' };
    return { kind: 'wrong', cause: messageOf(error).slice(0, 300) };
  }
}
