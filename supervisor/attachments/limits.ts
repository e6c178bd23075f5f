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
  const files = Math.min(own.files ?? settings.files, settings.files);
  const remedyOf = (narrower: boolean, key: string, setting: string): string =>
    narrower ? `profiles.${profile}.attachments.${key}` : setting;
  if (attachments.length > files) {
    const raise = remedyOf(files < settings.files, 'max_files', 'BERTH_ATTACHMENT_MAX_FILES');
    throw new BerthError(
      'invalid_request',
      `cannot use "attachments": there are ${attachments.length}, and the limit is ${files}; send fewer files, or raise ${raise}`,
      { details: { field: 'attachments' } },
    );
  }
  const bytes = Math.min(own.bytes ?? settings.bytes, settings.bytes);
  const sum = attachments.reduce((total, { data }) => total + data.length, 0);
  if (sum <= bytes) return;
  const raise = remedyOf(bytes < settings.bytes, 'max_size', 'BERTH_ATTACHMENT_MAX_SIZE');
  throw new BerthError(
    'payload_too_large',
    `cannot use "attachments": they have ${sum} bytes together, and the limit is ${bytes}; send smaller files, or raise ${raise}`,
    { details: { field: 'attachments' } },
  );
}
