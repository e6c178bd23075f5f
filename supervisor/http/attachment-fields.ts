/** The field `attachments` of a request: its schema, and its content as attachments. */
import { z } from 'zod';
import { type Attachment, attachmentOf, refused } from '../attachments/attachment.ts';

/** Characters of the name of a file. */
export const longestName = 1_024;

export const attachmentsField = z
  .array(
    z.strictObject({
      name: z
        .string({ error: 'expected the name of a file' })
        .max(longestName, { error: `expected at most ${longestName} characters` })
        .optional()
        .describe('The name of the file; it is made safe'),
      media_type: z
        .string({ error: 'expected a media type such as "image/png"' })
        .max(256, { error: 'expected a media type such as "image/png"' })
        .optional()
        .describe('Such as "image/png"; absent: by the content'),
      data: z.string({ error: 'expected base64' }).optional().describe('The content as base64'),
      text: z.string({ error: 'expected a text' }).optional().describe('The content as text'),
    }),
    { error: 'expected a list of files' },
  )
  .describe(
    'Files for the prompt, each with data or text. Pictures (png, jpeg, gif, webp) and PDFs go to the model; other files are written into attachments/ of the working directory. With `multipart/form-data` each part with a file name is one',
  );

export type AttachmentsBody = z.output<typeof attachmentsField>;

/** @throws BerthError `invalid_request` with the field */
export function readAttachments(body: AttachmentsBody | undefined): Attachment[] | undefined {
  if (body === undefined || body.length === 0) return undefined;
  return body.map(({ name, media_type, data, text }, index) => {
    const field = `attachments.${index}`;
    if ((data === undefined) === (text === undefined)) {
      throw refused(field, 'it needs either data or text', 'send one of the two');
    }
    const content = data === undefined ? Buffer.from(text ?? '') : decoded(data, field);
    const type = media_type ?? (data === undefined ? 'text/plain' : undefined);
    return attachmentOf({ name, mediaType: type, data: content }, field);
  });
}

/** Bytes that the attachments of a body may add to it: base64, names and types. */
export function encodedBytes(bytes: number): number {
  return Math.ceil(bytes / 3) * 4 + 256 * 1024;
}

/**
 * Node ignores what is not base64, so a damaged text would become a damaged file.
 * @throws BerthError `invalid_request`
 */
export function decoded(data: string, field: string): Buffer {
  const content = Buffer.from(data, 'base64');
  const expected = Math.floor((data.replace(/={0,2}$/, '').length * 3) / 4);
  if (content.length === expected) return content;
  throw refused(`${field}.data`, 'it is not base64', 'send base64 without line breaks');
}
