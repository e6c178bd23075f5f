/**
 * A file that a caller sends with a prompt. Pictures and PDFs go to the model as content blocks; every other file goes
 * into the directory of the session.
 * Invariants: the name is safe as the name of a file, and the content of a picture or a PDF begins as its type demands.
 * Only `attachmentOf` makes attachments.
 */
import { BerthError } from '../../shared/errors.ts';
import { baseTypeOf, isBlockType, matchesType, sniffedType } from './media-types.ts';
import { safeName } from './names.ts';

export interface Attachment {
  /** A safe name without a directory. Two attachments of one prompt may have the same name. */
  name: string;
  /** Such as `image/png`, in lower case and without parameters. */
  mediaType: string;
  data: Buffer;
}

/** What a caller sends, decoded. */
export interface SentAttachment {
  /** Any text; undefined: a name is made from the type. */
  name: string | undefined;
  /** Undefined, or `application/octet-stream`: the first bytes decide. */
  mediaType: string | undefined;
  data: Buffer;
}

/**
 * @param field the path of the attachment in the request, such as `attachments.0`
 * @throws BerthError `invalid_request` for a picture or a PDF whose content is something else, or an empty file
 */
export function attachmentOf({ name, mediaType, data }: SentAttachment, field: string): Attachment {
  const declared = mediaType === undefined ? undefined : baseTypeOf(mediaType);
  if (declared === '') throw refused(field, 'its media_type is no type', 'send "image/png"');
  if (data.length === 0) throw refused(field, 'it is empty', 'send its content');
  const unknown = declared === undefined || declared === 'application/octet-stream';
  const type = unknown ? (sniffedType(data) ?? 'application/octet-stream') : declared;
  if (!matchesType(data, type)) {
    throw refused(
      field,
      `its content is not ${type}`,
      'correct media_type, or send the file as application/octet-stream',
    );
  }
  return { name: safeName(name ?? '', type), mediaType: type, data };
}

/** Whether the attachment goes to the model as a content block. */
export function isBlock({ mediaType }: Pick<Attachment, 'mediaType'>): boolean {
  return isBlockType(mediaType);
}

export function refused(field: string, cause: string, remedy: string): BerthError {
  return new BerthError('invalid_request', `cannot use "${field}": ${cause}; ${remedy}`, {
    details: { field },
  });
}
