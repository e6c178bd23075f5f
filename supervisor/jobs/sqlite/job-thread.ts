/**
 * The thread of the store. SQLite waits for the disk, for seconds on a bad day: requests must not wait with it.
 * Invariant: the thread answers each call once, in the order of the calls.
 */
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { JobCalls } from './job-calls.ts';
import type { Call, FromThread } from './protocol.ts';

/** The most calls in one transaction. */
const mostTogether = 64;

const send = (message: FromThread): void => parentPort?.postMessage(message);
const calls = new JobCalls((notice) => send({ notice }));

parentPort?.on('message', (first: Call) => {
  const waiting = [first];
  while (parentPort && waiting.length < mostTogether) {
    const next = receiveMessageOnPort(parentPort);
    if (!next) break;
    waiting.push(next.message as Call);
  }
  send({ replies: calls.run(waiting) });
});
