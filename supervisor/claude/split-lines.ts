/**
 * Splits the output of a process into lines. A line costs time in proportion to its length, however many chunks it
 * arrives in: an answer of 6 MB is one line of several hundred chunks. The package split2 scans the whole unfinished
 * line again with each chunk, which took 7 s for such an answer.
 */
import { Transform } from 'node:stream';

const newline = 0x0a;

export interface SplitLinesOptions<M> {
  /** What a line says, without its end; undefined if the line is to be left out. */
  read: (line: string) => M | undefined;
  /** In bytes; a longer line is an error of the stream. */
  longest: number;
}

/** A stream that takes bytes and gives what `read` makes of each line. The last line needs no end. */
export function splitLines<M>({ read, longest }: SplitLinesOptions<M>): Transform {
  let parts: Buffer[] = [];
  let length = 0;
  function endLine(stream: Transform): void {
    const line = Buffer.concat(parts).toString('utf8');
    parts = [];
    length = 0;
    const message = read(line);
    if (message !== undefined) stream.push(message);
  }
  return new Transform({
    readableObjectMode: true,
    transform(chunk: Buffer, _encoding, done) {
      let from = 0;
      for (;;) {
        const end = chunk.indexOf(newline, from);
        const part = chunk.subarray(from, end < 0 ? undefined : end);
        length += part.length;
        if (length > longest) {
          done(new Error(`a line is longer than ${longest} bytes`));
          return;
        }
        if (part.length > 0) parts.push(part);
        if (end < 0) break;
        endLine(this);
        from = end + 1;
      }
      done();
    },
    flush(done) {
      if (length > 0) endLine(this);
      done();
    },
  });
}
