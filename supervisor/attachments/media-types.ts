/**
 * The media types that go to the model as content blocks, and the bytes with which their files begin.
 * Invariant: nothing here decodes a file, so a file that grows when it is decoded costs no memory.
 */

const starts: Readonly<Record<string, (data: Buffer) => boolean>> = {
  'image/png': (data) => begins(data, '89504e470d0a1a0a'),
  'image/jpeg': (data) => begins(data, 'ffd8ff'),
  'image/gif': (data) => begins(data, '474946383761') || begins(data, '474946383961'),
  'image/webp': (data) =>
    begins(data, '52494646') && data.subarray(8, 12).toString('latin1') === 'WEBP',
  // Readers of PDFs accept other bytes before the header.
  'application/pdf': (data) => data.subarray(0, 1_024).includes('%PDF-'),
};

const shape = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/;

/** The type in lower case and without parameters; empty if the text is no media type. */
export function baseTypeOf(mediaType: string): string {
  const type = mediaType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (!shape.test(type)) return '';
  return type === 'image/jpg' ? 'image/jpeg' : type;
}

/** Whether a file of that type goes to the model as a content block. */
export function isBlockType(type: string): boolean {
  return Object.hasOwn(starts, type);
}

/** Whether the content may be of that type; a type without a known beginning matches everything. */
export function matchesType(data: Buffer, type: string): boolean {
  return !isBlockType(type) || starts[type]?.(data) === true;
}

/** The type of a picture or a PDF by its first bytes; undefined for another file. */
export function sniffedType(data: Buffer): string | undefined {
  return Object.keys(starts).find((type) => matchesType(data, type));
}

function begins(data: Buffer, hex: string): boolean {
  return data.subarray(0, hex.length / 2).toString('hex') === hex;
}
