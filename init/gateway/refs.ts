/**
 * The discovery request: `info/refs?service=...`.
 * Invariants: of the capabilities for a push, those that the gateway refuses are taken out of the
 * answer, so that git does not use them.
 */
import { pipeline } from 'node:stream/promises';
import { noCache } from './git-answers.ts';
import { flush, PacketReader, packet } from './pkt-line.ts';
import { counted, type Transfer } from './transfer.ts';
import type { Service } from './upstream.ts';

/** Capabilities of a server that push-commands.ts refuses. */
const refused = /^(push-options$|push-cert=|object-format=(?!sha1$))/;
/** Some 400,000 refs. */
const mostBytes = 32 * 1024 * 1024;

/** @throws BerthError, with nothing sent */
export async function serveRefs(transfer: Transfer, service: Service): Promise<void> {
  const { request, response, place, upstream, signal } = transfer;
  const protocol = protocolOf(request.headers['git-protocol']);
  // For a push the protocol has one version only.
  const headers = service === 'git-upload-pack' ? protocol : {};
  const answer = await upstream.send({ place, service, headers, signal });
  const { stream } = counted(answer, mostBytes, 'the gateway for the list of refs');
  response.writeHead(200, { 'content-type': `application/x-${service}-advertisement`, ...noCache });
  await pipeline(service === 'git-upload-pack' ? stream : withoutRefused(stream), response, {
    signal,
  });
}

/** The header `git-protocol`, if it is one that git sends. */
export function protocolOf(header: string | string[] | undefined): Record<string, string> {
  const isPlain = typeof header === 'string' && /^version=[012]$/.test(header);
  return isPlain ? { 'git-protocol': header } : {};
}

async function* withoutRefused(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const packets = new PacketReader(source);
  for (;;) {
    const next = await packets.next();
    if (next === undefined) return;
    if (!Buffer.isBuffer(next)) {
      yield flush;
      continue;
    }
    const nul = next.indexOf(0);
    if (nul < 0) {
      yield packet(next);
      continue;
    }
    const list = next
      .toString('latin1', nul + 1)
      .trim()
      .split(' ');
    const kept = list.filter((each) => !refused.test(each)).join(' ');
    yield packet(Buffer.concat([next.subarray(0, nul + 1), Buffer.from(`${kept}\n`, 'latin1')]));
    yield* packets.rest();
    return;
  }
}
