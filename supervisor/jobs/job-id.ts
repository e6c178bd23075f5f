/** The ids of jobs: `job_` and a UUID of version 7 (RFC 9562), so that ids sort by the time of their creation. */
import { randomBytes } from 'node:crypto';

/** @param now milliseconds since 1970 */
export function newJobId(now: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return `job_${[...parts, hex.slice(20)].join('-')}`;
}
