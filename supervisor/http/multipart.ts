/**
 * Reads a body of `multipart/form-data`, and makes the JSON body that it stands for: each part with a file name is an
 * attachment, each other part a field. The part `request`, if there is one, is a JSON object with fields.
 * Invariants: the body is read within its byte limit, and with bounded numbers of parts. A body that ends early is
 * refused. The schema of the route checks the result, as it checks a JSON body.
 */
import type { IncomingMessage } from 'node:http';
import { Busboy, type BusboyHeaders } from '@fastify/busboy';
import { BerthError } from '../../shared/errors.ts';
import type { AttachmentsBody } from './attachment-fields.ts';

/** Parts of each kind: above the limits of attachments and fields, which have better messages. */
const most = { files: 1_000, fields: 64, headerPairs: 32 };
/** Characters of the name of a field. The parser has a limit for it too, and does not apply it to this type. */
const longestName = 100;

/** The parts of a form, in their order. */
export interface Form {
  fields: readonly [name: string, value: string][];
  files: AttachmentsBody;
}

export interface FieldReading {
  /** Whether the field of that name may have this text as its value; other values are JSON. */
  isText: (field: string, value: string) => boolean;
  /** Called with each text before it is parsed as JSON; throws to refuse the form. */
  beforeParsing: (text: string) => void;
}

/**
 * @param limit bytes of the whole body
 * @throws BerthError `invalid_request`, `payload_too_large`
 */
export async function readMultipart(request: IncomingMessage, limit: number): Promise<Form> {
  const fields: [string, string][] = [];
  const files: AttachmentsBody = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let parser: InstanceType<typeof Busboy>;
  try {
    parser = new Busboy({
      headers: request.headers as BusboyHeaders,
      limits: { ...most, fieldSize: limit, fileSize: limit },
    });
  } catch (error) {
    throw malformed((error as Error).message);
  }
  parser.on('field', (name: string | undefined, value) => {
    if (name === undefined) reject(malformed('a part has no name'));
    else if (name.length > longestName) reject(malformed('the name of a part is too long'));
    else fields.push([name, value]);
  });
  parser.on('file', (_field, stream, name, _encoding, type) => {
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () => {
      files.push({ name, media_type: type, data: Buffer.concat(pieces).toString('base64') });
    });
    stream.on('error', reject);
  });
  for (const kind of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) {
    parser.on(kind, () => reject(malformed('it has too many parts')));
  }
  parser.on('error', (error: unknown) => reject(malformed((error as Error).message)));
  parser.on('finish', resolve);
  let read = 0;
  request.on('data', (piece: Buffer) => {
    read += piece.length;
    if (read > limit) reject(tooLarge(limit));
  });
  request.on('error', reject);
  request.pipe(parser);
  try {
    await promise;
  } catch (error) {
    request.unpipe(parser);
    request.resume();
    throw error;
  }
  return { fields, files };
}

/** @throws BerthError `invalid_request`; what `beforeParsing` throws */
export function bodyOfForm({ fields, files }: Form, how: FieldReading): Record<string, unknown> {
  const body: Record<string, unknown> = Object.create(null);
  for (const [name, value] of fields) {
    const parts =
      name === 'request' ? Object.entries(objectIn(value, how)) : [[name, value] as const];
    for (const [key, each] of parts) {
      if (key in body) throw malformed(`the field ${JSON.stringify(key)} is there twice`);
      body[key] =
        typeof each === 'string' && name !== 'request' ? fieldValue(key, each, how) : each;
    }
  }
  if (files.length === 0) return { ...body };
  const listed = body.attachments;
  return { ...body, attachments: [...(Array.isArray(listed) ? listed : []), ...files] };
}

/** A value that is neither a fitting text nor JSON goes to the schema as it is, which describes what it expects. */
function fieldValue(
  field: string,
  value: string,
  { isText, beforeParsing }: FieldReading,
): unknown {
  if (isText(field, value)) return value;
  beforeParsing(value);
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function objectIn(text: string, { beforeParsing }: FieldReading): object {
  beforeParsing(text);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // The error below covers both.
  }
  throw malformed('the part "request" is not a JSON object');
}

function malformed(cause: string): BerthError {
  return new BerthError(
    'invalid_request',
    `cannot read the form: ${cause}; send multipart/form-data with a field "prompt" and files`,
  );
}

function tooLarge(limit: number): BerthError {
  return new BerthError(
    'payload_too_large',
    `cannot read the form: it has more than ${limit} bytes; send smaller files, or raise BERTH_ATTACHMENT_MAX_SIZE`,
  );
}
