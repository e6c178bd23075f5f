/**
 * The answer of a git server to a fetch is a stream of packets (gitprotocol-pack: pkt-line,
 * side-band-64k). The packets with the pack are taken out and go to a reader; all other packets go to the
 * library, which negotiates.
 */

/** @param take gets the bytes of the pack; more bytes come when its promise resolves */
export async function* withoutPack(
  body: AsyncIterable<Uint8Array>,
  take: (part: Buffer) => Promise<void>,
): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of body) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    rest = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes;
    while (rest.length >= 4) {
      const length = Number.parseInt(rest.toString('latin1', 0, 4), 16);
      if (!(length >= 0)) break;
      const size = Math.max(4, length);
      if (rest.length < size) break;
      const packet = rest.subarray(0, size);
      rest = rest.subarray(size);
      if (size > 5 && packet[4] === 1) await take(packet.subarray(5));
      else yield packet;
    }
  }
  // The library reports bytes that are not a packet.
  if (rest.length > 0) yield rest;
}

/** Adds `thin-pack` to the request: the server may send deltas against objects that are here. */
export function requestThinPack(request: Buffer): Buffer {
  const length = Number.parseInt(request.toString('latin1', 0, 4), 16);
  const line = request.toString('latin1', 4, length);
  if (!line.startsWith('want ')) return request;
  const longer = line.replace(/\n?$/, ' thin-pack\n');
  const head = (longer.length + 4).toString(16).padStart(4, '0');
  return Buffer.concat([Buffer.from(head + longer, 'latin1'), request.subarray(length)]);
}
