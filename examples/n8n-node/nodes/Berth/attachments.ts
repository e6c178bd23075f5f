/**
 * The binary input of the node as a form: n8n sends the bytes of the files as they are.
 * In JSON the same files would be base64, of which several copies are in memory while the request is made.
 */
import { createHash } from 'node:crypto';
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';

export interface Attachment {
  name: string;
  mediaType: string;
  content: Blob;
  /** SHA-256 of the content, in hex. */
  digest: string;
}

/** @param wanted names of binary fields of the item; `*` for all */
export async function attachmentsOf(
  context: IExecuteFunctions,
  wanted: readonly string[],
  i: number,
): Promise<Attachment[]> {
  const binary = context.getInputData()[i]?.binary ?? {};
  const fields = wanted.includes('*') ? Object.keys(binary) : wanted;
  const found: Attachment[] = [];
  for (const field of fields) {
    const { fileName, mimeType } = context.helpers.assertBinaryData(i, field);
    const content = await context.helpers.getBinaryDataBuffer(i, field);
    found.push({
      name: fileName ?? field,
      mediaType: mimeType,
      content: new Blob([new Uint8Array(content)], { type: mimeType }),
      digest: createHash('sha256').update(content).digest('hex'),
    });
  }
  return found;
}

/** All fields are one part, and each file is another. */
export function formOf(fields: IDataObject, attachments: readonly Attachment[]): FormData {
  const form = new FormData();
  form.append('request', JSON.stringify(fields));
  for (const { name, content } of attachments) form.append('file', content, name);
  return form;
}
