/**
 * BullMQ alone, without berth and HTTP: a queue and its worker in the process of the benchmark. The worker sends each job
 * to processes of the same stand-in for the CLI.
 */
import { type Job, Queue, QueueEvents, Worker } from 'bullmq';
import { BareProcess, makePlace } from './bare.ts';
import { type JobTimes, prompt } from './jobs-calls.ts';

/** Jobs at once, each with a process of the CLI. */
const workers = 3;

export class BullMqAlone {
  readonly #queue: Queue;
  readonly #events: QueueEvents;

  private constructor(queue: Queue, events: QueueEvents) {
    this.#queue = queue;
    this.#events = events;
  }

  /** @param cli the executable of the CLI. @param redis the URL of the server */
  static async start(
    directory: string,
    cli: string,
    redis: string,
    cleanup: AsyncDisposableStack,
  ): Promise<BullMqAlone> {
    const place = await makePlace(directory, 'http://127.0.0.1:9');
    const free = await Promise.all(
      Array.from({ length: workers }, () => BareProcess.warm(place, cli)),
    );
    const processes = [...free];
    cleanup.defer(() => Promise.all(processes.map((one) => one.stop())).then(() => undefined));
    const { hostname: host, port, password } = new URL(redis);
    const connection = { host, port: Number(port), password, maxRetriesPerRequest: null };
    const queue = new Queue('alone', { connection });
    const events = new QueueEvents('alone', { connection });
    const worker = new Worker(
      'alone',
      async () => {
        const cliProcess = free.pop();
        if (!cliProcess) throw new Error('no process of the CLI is free');
        await cliProcess.prompt(prompt);
        free.push(cliProcess);
      },
      { connection, concurrency: workers },
    );
    // Each caller that waits for a job listens to the queue.
    queue.setMaxListeners(0);
    for (const part of [queue, events, worker]) cleanup.defer(() => part.close());
    await events.waitUntilReady();
    await worker.waitUntilReady();
    return new BullMqAlone(queue, events);
  }

  add(): Promise<Job> {
    return this.#queue.add('job', { prompt });
  }

  /** Waits for the end of a job. @returns when it ended, in milliseconds since 1970, and how long it lived */
  async end(job: Job): Promise<{ endedAt: number; lived: number }> {
    await job.waitUntilFinished(this.#events, 30_000);
    const endedAt = (await this.#queue.getJob(job.id ?? ''))?.finishedOn ?? Number.NaN;
    return { endedAt, lived: endedAt - job.timestamp };
  }

  async run(): Promise<JobTimes> {
    const began = performance.now();
    const job = await this.add();
    const accepted = performance.now() - began;
    const { lived } = await this.end(job);
    return { accepted, lived, waited: performance.now() - began };
  }
}
