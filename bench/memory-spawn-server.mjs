// A typical server around the CLI: one `claude -p` for each request. The prompt is the body.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const server = createServer(async (request, response) => {
  let prompt = '';
  for await (const chunk of request) prompt += chunk;
  execFile(process.env.CLAUDE, ['-p', prompt], (error, stdout) => {
    response.statusCode = error ? 502 : 200;
    response.end(stdout);
  }).stdin.end();
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(process.env.PORT_FILE, String(server.address().port));
});
