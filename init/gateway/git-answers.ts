/**
 * Refusals in the form that git shows to its user: text with a status for a discovery request, an error
 * packet for a fetch, and a report for a push.
 */
import type { ServerResponse } from 'node:http';
import { printable } from '../../shared/printable.ts';
import { redact } from '../../shared/redact.ts';
import { flush, packet } from './pkt-line.ts';
import type { PushHead } from './push-commands.ts';

/** git prints `remote: <text>` for a plain text. */
export function refuseText(response: ServerResponse, status: number, text: string): void {
  const close: Record<string, string> = response.req.complete ? {} : { connection: 'close' };
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...noCache, ...close });
  response.end(`${plain(text)}\n`);
}

/** git prints `fatal: remote error: <text>`. */
export function refuseFetch(response: ServerResponse, text: string): void {
  const type = 'application/x-git-upload-pack-result';
  response.writeHead(200, { 'content-type': type, ...noCache });
  response.end(packet(`ERR ${plain(text)}`));
}

/**
 * git prints `! [remote rejected] <branch> (<reason>)` for each ref.
 * @param reasons by ref; other refs of the push are refused with them
 * @param text printed as `remote: <text>`
 */
export function refusePush(
  response: ServerResponse,
  { commands, capabilities }: PushHead,
  reasons: ReadonlyMap<string, string>,
  text: string,
): void {
  const other = 'another branch of this push is refused';
  const report = Buffer.concat([
    packet('unpack ok\n'),
    ...commands.map(({ ref }) => packet(`ng ${ref} ${plain(reasons.get(ref) ?? other)}\n`)),
    flush,
  ]);
  const type = 'application/x-git-receive-pack-result';
  response.writeHead(200, { 'content-type': type, ...noCache });
  if (!capabilities.includes('side-band-64k')) {
    response.end(report);
    return;
  }
  const band = (number: number, content: Buffer) =>
    packet(Buffer.concat([Buffer.of(number), content]));
  response.end(
    Buffer.concat([band(2, Buffer.from(`berth: ${plain(text)}\n`)), band(1, report), flush]),
  );
}

export const noCache: Readonly<Record<string, string>> = {
  'cache-control': 'no-cache, max-age=0, must-revalidate',
};

/** One line without control characters and secrets. */
function plain(text: string): string {
  return printable(redact(text).replace(/\s+/g, ' ')).slice(0, 1_000);
}
