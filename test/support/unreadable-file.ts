/** A file that the system refuses to read, also to root, whom no permission stops. */
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname } from 'node:path';
import type { Test } from 'tap';

/** Creates a socket at `path`: to open a socket is an error of the system (ENXIO). */
export async function plantUnreadable(t: Test, path: string): Promise<void> {
  // The path of a socket has at most 107 bytes, so the directory is named by its descriptor.
  const directory = openSync(dirname(path), 'r');
  const server = createServer().listen(`/proc/self/fd/${directory}/${basename(path)}`);
  t.teardown(() => {
    server.close();
    closeSync(directory);
  });
  await once(server, 'listening');
}
