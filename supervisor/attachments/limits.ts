/** The limits of attachments: those of the settings, and narrower ones of a profile. */
import { BerthError } from '../../shared/errors.ts';
import type { Attachment } from './attachment.ts';

export interface AttachmentLimits {
  /** Files in one prompt; 0: none. */
  files: number;
  /** Bytes of all files of one prompt, decoded. */
  bytes: number;
}

/** The limits of the settings, used where a profile has no narrower limit. */
export const usualLimits: AttachmentLimits = { files: 20, bytes: 10 * 1024 ** 2 };

/** The limits that hold: those of the profile where they are narrower. */
function narrower(settings: AttachmentLimits, own: Partial<AttachmentLimits>): AttachmentLimits {
  return {
    files: Math.min(own.files ?? settings.files, settings.files),
    bytes: Math.min(own.bytes ?? settings.bytes, settings.bytes),
  };
}

/**
 * The newest attachments of a history that fit into a prompt beside those of its new message.
 * @param earlier the oldest first
 * @param own as for `checkLimits`
 */
export function newestWithin(
  earlier: readonly Attachment[],
  fresh: readonly Attachment[],
  settings: AttachmentLimits,
  own: Partial<AttachmentLimits> = {},
): readonly Attachment[] {
  const limits = narrower(settings, own);
  let files = limits.files - fresh.length;
  let bytes = limits.bytes - bytesOf(fresh);
  const kept: Attachment[] = [];
  for (const attachment of earlier.toReversed()) {
    files -= 1;
    bytes -= attachment.data.length;
    if (files < 0 || bytes < 0) break;
    kept.unshift(attachment);
  }
  return kept;
}

function bytesOf(attachments: readonly Attachment[]): number {
  return attachments.reduce((total, { data }) => total + data.length, 0);
}

/**
 * @param own the limits of the profile; an absent limit is that of the settings
 * @throws BerthError `invalid_request` for too many files, `payload_too_large` for too many bytes
 */
export function checkLimits(
  attachments: readonly Attachment[],
  settings: AttachmentLimits,
  profile: string,
  own: Partial<AttachmentLimits> = {},
): void {
  if (attachments.length === 0) return;
  const { files, bytes } = narrower(settings, own);
  const remedyOf = (isOwn: boolean, key: string, setting: string): string =>
    isOwn ? `profiles.${profile}.attachments.${key}` : setting;
  if (attachments.length > files) {
    const raise = remedyOf(files < settings.files, 'max_files', 'BERTH_ATTACHMENT_MAX_FILES');
    throw new BerthError(
      'invalid_request',
      `cannot use "attachments": there are ${attachments.length}, and the limit is ${files}; send fewer files, or raise ${raise}`,
      { details: { field: 'attachments' } },
    );
  }
  const sum = bytesOf(attachments);
  if (sum <= bytes) return;
  const raise = remedyOf(bytes < settings.bytes, 'max_size', 'BERTH_ATTACHMENT_MAX_SIZE');
  throw new BerthError(
    'payload_too_large',
    `cannot use "attachments": they have ${sum} bytes together, and the limit is ${bytes}; send smaller files, or raise ${raise}`,
    { details: { field: 'attachments' } },
  );
}
