/** Reads the report of a git server about a push (gitprotocol-pack: report-status). */
import { PacketReader } from './pkt-line.ts';
import type { PushHead } from './push-commands.ts';

/** The refs of the push that the server did not change; all of them if the report cannot be read. */
export async function rejectedRefs(
  answer: Buffer,
  { commands, capabilities }: PushHead,
): Promise<string[]> {
  const all = commands.map(({ ref }) => ref);
  try {
    const report = capabilities.includes('side-band-64k') ? await firstBand(answer) : answer;
    const accepted = new Set<string>();
    const packets = new PacketReader(streamOf(report));
    for (let next = await packets.next(); next !== undefined; next = await packets.next()) {
      const ref = Buffer.isBuffer(next) && /^ok (\S+)/.exec(next.toString('latin1'))?.[1];
      if (ref) accepted.add(ref);
    }
    return all.filter((ref) => !accepted.has(ref));
  } catch {
    return all;
  }
}

/** The content of band 1; the others have messages for people. */
async function firstBand(answer: Buffer): Promise<Buffer> {
  const packets = new PacketReader(streamOf(answer));
  const parts: Buffer[] = [];
  for (let next = await packets.next(); Buffer.isBuffer(next); next = await packets.next()) {
    if (next[0] === 1) parts.push(next.subarray(1));
  }
  return Buffer.concat(parts);
}

async function* streamOf(bytes: Buffer): AsyncGenerator<Buffer, void> {
  yield bytes;
}
