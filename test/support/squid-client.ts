/**
 * Run inside of the namespace: starts Squid by the command of its arguments, with a stand-in for every
 * host on loopback, asks for what it shall and shall not do, and prints what came of it as JSON.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fchmodSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { until } from './until.ts';

export interface Outcome {
  /** What came back for each question, from the first byte to the last. */
  answers: Record<keyof typeof questions, string>;
  /** What Squid wrote. */
  log: string;
}

const questions = {
  listed: 'CONNECT api.anthropic.com:443',
  elsewhere: 'CONNECT elsewhere.example:443',
  subdomain: 'CONNECT gist.github.com:443',
  otherPort: 'CONNECT api.anthropic.com:80',
  byAddress: 'CONNECT 127.0.0.1:443',
  plainGet: 'GET http://api.anthropic.com/',
  plainGetAt443: 'GET http://api.anthropic.com:443/',
};

for (const port of [80, 443]) {
  const server = createServer((socket) => {
    socket.on('error', () => {}).end(`hello from ${port}`);
  });
  server.listen(port, '127.0.0.1').unref();
  await once(server, 'listening');
}
const [command = '', ...args] = process.argv.slice(2);
// Squid opens both by name: a socket, as Node makes them, cannot be, and a container's belong to its user.
const logs = ['/tmp/stdout', '/tmp/stderr'].map((path) => ({ path, to: openSync(path, 'a') }));
for (const { to } of logs) fchmodSync(to, 0o666);
const squid = spawn(command, args, { stdio: ['ignore', ...logs.map(({ to }) => to)] });
const readLog = () => logs.map(({ path }) => readFileSync(path, 'utf8')).join('');
const ended = once(squid, 'exit');

async function ask(question: string): Promise<string> {
  const socket = connect(3128, '127.0.0.1');
  await once(socket, 'connect');
  socket.setTimeout(10_000, () => socket.destroy(new Error(`no answer to ${question}`)));
  socket.write(`${question} HTTP/1.1\r\nHost: api.anthropic.com\r\nConnection: close\r\n\r\n`);
  return await text(socket);
}

try {
  await until('Squid listens', async () => {
    if (squid.exitCode !== null) throw new Error(`Squid ended:\n${readLog()}`);
    return ask(questions.elsewhere).then(Boolean, () => false);
  });
  const answers: Record<string, string> = {};
  for (const [name, question] of Object.entries(questions)) answers[name] = await ask(question);
  // At once, without the time that it gives to its clients.
  squid.kill('SIGINT');
  await ended;
  process.stdout.write(JSON.stringify({ answers, log: readLog() }));
} finally {
  squid.kill('SIGKILL');
  await ended;
}
