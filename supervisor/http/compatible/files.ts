/**
 * Reads the files in the parts of a message.
 * Invariant: berth downloads nothing for a client, so a file comes as base64 within the request.
 */
import { type Attachment, attachmentOf } from '../../attachments/attachment.ts';
import { decoded, longestName } from '../attachment-fields.ts';
import { asObject, type Json, type Parts, type SentFile } from './content.ts';
import { cannotUse } from './field-rules.ts';

/** Why a file cannot be used that only has an address or an id. */
export const notInRequest =
  'its content is not in the request, and berth downloads nothing for a client';

/** Of Anthropic's API. */
export const anthropicParts: Parts = {
  texts: ['text'],
  files: {
    image: ({ source }, field) => bySource(source, undefined, field),
    document: ({ source, title, context }, field) => bySource(source, title, field, context),
  },
};

/** Of OpenAI's Chat Completions. */
export const chatParts: Parts = {
  texts: ['text'],
  files: {
    image_url: ({ image_url }, field) =>
      byUrl(asObject(image_url, `${field}.image_url`).url, undefined, `${field}.image_url.url`),
    file: ({ file }, field) => {
      const { file_data, filename } = asObject(file, `${field}.file`);
      return byUrl(
        file_data,
        nameOfFile(filename, `${field}.file.filename`),
        `${field}.file.file_data`,
      );
    },
  },
};

/** Of OpenAI's Responses. */
export const responsesParts: Parts = {
  texts: ['input_text', 'output_text', 'text'],
  files: {
    input_image: ({ image_url }, field) => byUrl(image_url, undefined, `${field}.image_url`),
    input_file: ({ file_data, filename }, field) =>
      byUrl(file_data, nameOfFile(filename, `${field}.filename`), `${field}.file_data`),
  },
};

function bySource(
  value: unknown,
  title: unknown,
  field: string,
  context?: unknown,
): SentFile | readonly SentFile[] {
  const source = asObject(value, `${field}.source`);
  const name = nameOfFile(title, `${field}.title`);
  const about =
    typeof context === 'string' && context !== '' ? ` (${JSON.stringify(context)})` : '';
  const heading = `Document ${JSON.stringify(name ?? 'untitled')}${about}`;
  if (source.type === 'base64') {
    const file = byBase64(source, name, `${field}.source`);
    return about === '' ? file : [`${heading} is attached.`, file];
  }
  if (source.type === 'text' && typeof source.data === 'string') {
    // A prompt that begins with a slash runs a command: what a document says must not be one.
    return `${heading}:\n\n${source.data}`;
  }
  throw elsewhere(`${field}.source`);
}

function byBase64({ media_type, data }: Json, name: string | undefined, field: string): Attachment {
  if (typeof data !== 'string') throw elsewhere(field);
  const mediaType = typeof media_type === 'string' ? media_type : undefined;
  return attachmentOf({ name, mediaType, data: decoded(data, field) }, field);
}

/** A `data:` URL. */
function byUrl(url: unknown, name: string | undefined, field: string): Attachment {
  const comma = typeof url === 'string' ? url.indexOf(',') : -1;
  if (typeof url !== 'string' || comma < 0) throw elsewhere(field);
  const [, media_type] = /^data:([^;,]*)(?:;[^,]*)?;base64$/i.exec(url.slice(0, comma)) ?? [];
  if (media_type === undefined) throw elsewhere(field);
  return byBase64({ media_type, data: url.slice(comma + 1) }, name, field);
}

/** @throws BerthError `invalid_request` for a name that is too long */
function nameOfFile(value: unknown, field: string): string | undefined {
  if (typeof value !== 'string') return undefined;
  if (value.length <= longestName) return value;
  throw cannotUse(field, `it has more than ${longestName} characters`, 'send a shorter name');
}

function elsewhere(field: string) {
  return cannotUse(field, notInRequest, 'send it as base64');
}
