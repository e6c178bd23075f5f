/** Checks the size of a prompt without its attachments: the limit of the body allows for both. */
import { BerthError } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';

/**
 * @param length bytes of the body, if the client has sent a length
 * @throws BerthError `payload_too_large`
 */
export function assertPromptSize(
  body: unknown,
  length: number,
  { maxPromptBytes }: { maxPromptBytes: number },
): void {
  if (length <= maxPromptBytes || typeof body !== 'object' || body === null) return;
  const { attachments: _, ...rest } = body as Record<string, unknown>;
  if (Buffer.byteLength(JSON.stringify(rest)) <= maxPromptBytes) return;
  throw new BerthError(
    'payload_too_large',
    `cannot read the request: its body is larger than ${formatSize(maxPromptBytes)} besides its attachments; put large input into files of the workspace or into attachments, or raise BERTH_MAX_PROMPT_BYTES`,
  );
}
