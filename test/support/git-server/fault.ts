/**
 * What can go wrong between a client and its git server. A fault either answers a request itself or
 * lets git answer and cuts the answer short.
 */
import type { ServerResponse } from 'node:http';

/** `times`: how many requests it hits before the server heals; without it, all of them. */
export type GitFault = { times?: number } /** `retryAfter`: seconds. */ & (
  | { kind: 'status'; status: number; retryAfter?: number }
  /** Accepts the request and never answers. */
  | { kind: 'hang' }
  /** Sends so many bytes of the pack's response and then nothing, with the connection open. */
  | { kind: 'stall'; afterBytes: number }
  /** Sends so many bytes of the pack's response and breaks the connection. */
  | { kind: 'drop'; afterBytes: number }
  /** Sends the pack's response with one bit changed, at this byte of it. */
  | { kind: 'flip'; atByte: number }
  /** A login page with status 200, as captive portals and some proxies send it. */
  | { kind: 'html' }
  /** Moved for good, as a renamed repository is. `to`: the URL of the new repository. */
  | { kind: 'redirect'; to: string }
);

/** Applies the fault; `handled` means that git must not answer any more. */
export function applyFault(
  fault: GitFault,
  path: string,
  response: ServerResponse,
): 'handled' | 'cut' {
  switch (fault.kind) {
    case 'hang':
      return 'handled';
    case 'html':
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end('<!doctype html><title>Sign in</title><form>Please sign in</form>\n');
      return 'handled';
    case 'redirect': {
      const rest = /\/(?:info\/refs.*|git-upload-pack)$/.exec(path)?.[0] ?? '';
      response.writeHead(301, { location: `${fault.to}${rest}` }).end();
      return 'handled';
    }
    case 'status': {
      if (fault.retryAfter !== undefined) response.setHeader('retry-after', fault.retryAfter);
      response.writeHead(fault.status).end(`fault: ${fault.status}\n`);
      return 'handled';
    }
    case 'flip':
      flipAt(response, fault.atByte);
      return 'cut';
    case 'stall':
    case 'drop':
      cutAfter(response, fault.afterBytes, fault.kind === 'drop');
      return 'cut';
  }
}

function flipAt(response: ServerResponse, atByte: number): void {
  const write = response.write.bind(response) as (chunk: Buffer) => boolean;
  let at = 0;
  response.write = ((chunk: Buffer) => {
    const place = atByte - at;
    at += chunk.length;
    const changed = Buffer.from(chunk);
    if (place >= 0 && place < changed.length) changed.writeUInt8((changed[place] ?? 0) ^ 4, place);
    return write(changed);
  }) as ServerResponse['write'];
}

/** Lets so many bytes of the body through; the rest is lost, and so is the end of the response. */
function cutAfter(response: ServerResponse, afterBytes: number, breakOff: boolean): void {
  const write = response.write.bind(response) as (chunk: Buffer) => boolean;
  let left = afterBytes;
  const cut = () => {
    // The header must be out, or a cut at 0 bytes could not be told from a hang.
    response.flushHeaders();
    if (breakOff) response.socket?.end(() => response.destroy());
  };
  response.write = ((chunk: Buffer) => {
    if (left <= 0) return true;
    const part = chunk.subarray(0, left);
    left -= part.length;
    write(part);
    if (left <= 0) cut();
    return true;
  }) as ServerResponse['write'];
  response.end = (() => {
    if (left > 0) cut();
    left = 0;
    return response;
  }) as ServerResponse['end'];
}
