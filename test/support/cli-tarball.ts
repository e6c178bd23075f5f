/**
 * npm tarballs of a CLI that is a small script, and a loopback server that delivers them: as they are,
 * or with the faults that a test asks for.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Test } from 'tap';
import { Header, type HeaderData } from 'tar/header';

export interface Entry extends Omit<HeaderData, 'path'> {
  path: string;
  content?: string | Buffer;
}

/** A gzipped tarball of these entries, whatever they say of themselves. */
export function tarball(entries: readonly Entry[], end = Buffer.alloc(1024), level = 6): Buffer {
  const parts = entries.flatMap(({ content = '', ...data }) => {
    const body = Buffer.from(content);
    const block = Buffer.alloc(512);
    const type = data.type ?? 'File';
    new Header({ mode: 0o644, mtime: new Date(0), size: body.length, ...data, type }).encode(block);
    return [block, body, Buffer.alloc((512 - (body.length % 512)) % 512)];
  });
  return gzipSync(Buffer.concat([...parts, end]), { level });
}

/** What the script says when it is asked for its version. */
export function cliTarball(
  version: string,
  script = `#!/bin/sh\necho "${version} (Claude Code)"\n`,
) {
  return tarball([
    { path: 'package/LICENSE.md', content: 'none' },
    // Noise, for a tarball that compresses to nothing tells nothing of its size.
    {
      path: 'package/claude',
      mode: 0o755,
      content: `${script}# ${randomBytes(60_000).toString('hex')}\n`,
    },
    { path: 'package/package.json', content: JSON.stringify({ version }) },
  ]);
}

export function integrityOf(content: Buffer): string {
  return `sha512-${createHash('sha512').update(content).digest('base64')}`;
}

/** What init is to be told of a tarball at a URL. */
export function settingsFor(url: string, content: Buffer): Record<string, string> {
  return { BERTH_CLAUDE_TARBALL: url, BERTH_CLAUDE_INTEGRITY: integrityOf(content) };
}

export interface TarballServer {
  /** `http://127.0.0.1:PORT` */
  url: string;
  requests: Pick<IncomingMessage, 'url' | 'headers'>[];
  /** What is to be had, by path. */
  files: Map<string, Buffer>;
  /** Path -> status and, if it moves, location. */
  answers: Map<string, { status: number; location?: string }>;
  /** So many of the next answers break off half way. */
  broken: number;
  close(): void;
}

export async function startTarballServer(t: Pick<Test, 'teardown'>): Promise<TarballServer> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    made.requests.push({ url: path, headers: request.headers });
    const answer = made.answers.get(path);
    const file = made.files.get(path);
    if (answer || !file) {
      const { status, location } = answer ?? { status: 404 };
      response.writeHead(status, location === undefined ? {} : { location }).end('<html>');
      return;
    }
    response.writeHead(200, { 'content-length': file.length });
    if (made.broken > 0) {
      made.broken -= 1;
      response.write(file.subarray(0, file.length / 2), () => response.destroy());
    } else response.end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const made: TarballServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    files: new Map(),
    answers: new Map(),
    broken: 0,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
  t.teardown(() => made.close());
  return made;
}
