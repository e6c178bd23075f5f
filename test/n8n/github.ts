/** A stand-in for the few calls of GitHub's API that the workflows make: one repository, one token; and two files. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** As it is in the workflows and profiles. */
export const repositoryName = 'your-name/your-repository';
export const githubToken = 'github-token-of-the-test';
export const diff =
  '--- a/lamp.ts\n+++ b/lamp.ts\n@@ -1 +1 @@\n-export const on = false;\n+export const on = true;\n';
export const source = 'export const lighthouse = "by the sea";\n';

export const issue = { title: 'The lamp is off', body: 'It should be on.' };
/** A file that the model reads with its tools. */
export const table = 'month,sum\n1,20\n';
/** A picture of one pixel. */
export const picture = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

export interface CommentedGitHub {
  url: string;
  /** Bodies of the comments on pull request 1 and on issue 1. */
  comments: string[];
  issues: { title: string; body: string }[];
  close(): Promise<void>;
}

export async function startGitHub(): Promise<CommentedGitHub> {
  const comments: string[] = [];
  const issues: { title: string; body: string }[] = [];
  const repository = `/repos/${repositoryName}`;
  const server = createServer(async (request, response) => {
    const body = await text(request);
    const reply = (status: number, content: string | Buffer, type = 'application/json') =>
      response.writeHead(status, { 'content-type': type }).end(content);
    if (request.url === '/files/chart.png') return reply(200, picture, 'image/png');
    if (request.url === '/files/sales.csv') return reply(200, table, 'text/csv');
    if (request.headers.authorization !== `Bearer ${githubToken}`) return reply(401, '{}');
    const accept = request.headers.accept;
    switch (`${request.method} ${request.url}`) {
      case `GET ${repository}/pulls/1`:
        if (accept !== 'application/vnd.github.diff') return reply(200, '{}');
        return reply(200, diff, 'application/vnd.github.diff; charset=utf-8');
      case `GET ${repository}/contents/src/index.ts`:
        if (accept !== 'application/vnd.github.raw+json') return reply(200, '{}');
        return reply(200, source, 'application/vnd.github.raw+json; charset=utf-8');
      case `GET ${repository}/issues/1`:
        return reply(200, JSON.stringify({ number: 1, ...issue }));
      case `POST ${repository}/issues/1/comments`:
        comments.push(JSON.parse(body).body);
        return reply(201, '{"id":1}');
      case `POST ${repository}/issues`:
        issues.push(JSON.parse(body));
        return reply(201, '{"number":2}');
      default:
        return reply(404, '{}');
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    comments,
    issues,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
