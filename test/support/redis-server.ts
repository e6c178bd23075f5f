/**
 * A redis-server of the machine for tests: on a free port of loopback, with its data in a temporary directory. It can be
 * killed and started again on the same port with the same data.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { freePort } from './free-port.ts';
import { until } from './until.ts';

export interface RedisServer {
  /** With the password. */
  readonly url: string;
  readonly port: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it with the data of before; resolves when it answers. */
  start(): Promise<void>;
  /** Stops its process without ending it, as a server that hangs. */
  suspend(): void;
  resume(): void;
}

export interface RedisServerOptions {
  /** Further arguments, such as `--maxmemory-policy allkeys-lru`. */
  arguments?: string[];
}

/** Made up; tests check that it is in no log. */
export const redisPassword = 'redis-password-of-tests';

/** Why no server can be started here, or false. In CI that is a failure, not a reason to test less. */
export function cannotRunRedis(): string | false {
  if (process.env.CI === 'true') return false;
  const { error } = spawnSync('redis-server', ['--version']);
  return error ? 'redis-server is not installed (Debian: redis-server)' : false;
}

/**
 * A server without a test, for soak tests and benchmarks; call `close` at the end.
 * @throws Error if redis-server is not installed
 */
export async function startRedisServer(
  options: RedisServerOptions = {},
): Promise<RedisServer & { close(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-redis-'));
  const port = await freePort();
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(
      'redis-server',
      [
        ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
        ...['--appendonly', 'yes', '--appendfsync', 'always', '--requirepass', redisPassword],
        ...['--maxmemory-policy', 'noeviction', ...(options.arguments ?? [])],
      ],
      { stdio: 'ignore' },
    );
    // Rejects where there is no such program. Unheard, the error would end the process with its other test files.
    await once(child, 'spawn');
    await until('redis-server answers', () => answers(port));
  };
  const kill = async (): Promise<void> => {
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const close = async (): Promise<void> => {
    await kill();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    url: `redis://:${redisPassword}@127.0.0.1:${port}/0`,
    ...{ port, start, kill },
    suspend: () => child?.kill('SIGSTOP'),
    resume: () => child?.kill('SIGCONT'),
    close,
  };
}

/** A server that ends with the test. */
export async function redisServer(t: Test, options?: RedisServerOptions): Promise<RedisServer> {
  const server = await startRedisServer(options);
  t.teardown(() => server.close());
  return server;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    // An answer without a password shows that the data is loaded: until then the answer is LOADING.
    socket.write(`AUTH ${redisPassword}\r\nPING\r\n`);
    let text = '';
    for await (const chunk of socket) {
      text += chunk;
      if (text.split('\r\n').length > 2) break;
    }
    return text.includes('PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/**
 * The most milliseconds of one command in tests of a server that answers. After the usual three
 * seconds work in the background is given up, and done in a later step.
 */
export const patience = 60_000;
