/**
 * Downloads the CLI's tarball to a file, with proxies, redirects, deadlines, a bound and retries.
 * Invariants: a login is sent to the origin of the URL only. https never changes to http. The file
 * has the sha512 of the settings when the function returns.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { type Dispatcher, request } from 'undici';
import { backoff } from '../../shared/backoff.ts';
import { BerthError } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';
import { version } from '../../shared/version.ts';
import { sleep } from '../../shared/waiting.ts';
import { networkProblem } from '../git/remote-errors.ts';
import type { CliTarball } from './cli-settings.ts';

/** The tarball of 2.1.330 has 175 MB. */
export const mostTarballBytes = 1024 ** 3;

const mostRedirects = 5;
const mostAttempts = 3;

export interface DownloadOptions {
  dispatcher: Dispatcher;
  signal: AbortSignal;
  /** More bytes are refused. */
  mostBytes?: number;
  /** Milliseconds before the second attempt; the third waits twice as long. */
  patience?: number;
}

/**
 * @param file empty, and open for writing
 * @throws BerthError `cli_undelivered`, `cli_refused`; the signal's reason; an error of the file
 */
export async function download(
  tarball: CliTarball,
  file: FileHandle,
  options: DownloadOptions,
): Promise<void> {
  const { signal, patience = 1_000 } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(tarball, file, options);
    } catch (error) {
      signal.throwIfAborted();
      const failure = asFailure(error, tarball.url);
      const again = failure.code === 'cli_undelivered' && !failure.details.permanent;
      if (!again || attempt === mostAttempts) throw failure;
      await file.truncate(0);
      await sleep(backoff(attempt, { first: patience, longest: patience * 2 }), signal);
    }
  }
}

async function once(
  { url, authorization, integrity }: CliTarball,
  file: FileHandle,
  { dispatcher, signal, mostBytes = mostTarballBytes }: DownloadOptions,
): Promise<void> {
  const body = await open(url, authorization, dispatcher, signal);
  const hash = createHash('sha512');
  let length = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    // By position, because a second attempt starts again.
    await writeAll(file, part, length);
    hash.update(part);
    length += part.length;
    if (length > mostBytes) throw refused(url, `it is larger than ${formatSize(mostBytes)}`);
  }
  const found = `sha512-${hash.digest('base64')}`;
  if (found !== integrity) {
    throw refused(url, `it has ${length} bytes and the integrity ${found}, not the expected one`);
  }
}

async function writeAll(file: FileHandle, part: Buffer, position: number): Promise<void> {
  for (let done = 0; done < part.length; ) {
    const { bytesWritten } = await file.write(part, done, part.length - done, position + done);
    done += bytesWritten;
  }
}

async function open(
  first: string,
  authorization: string | undefined,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData['body']> {
  const { origin } = new URL(first);
  let url = new URL(first);
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const { statusCode, headers, body } = await request(url, {
      method: 'GET',
      headers: {
        'user-agent': `berth-init/${version}`,
        ...(authorization !== undefined && url.origin === origin ? { authorization } : {}),
      },
      dispatcher,
      signal,
    });
    if (statusCode === 200) return body;
    await body.dump();
    const next = URL.parse(String(headers.location ?? ''), url.href);
    if (statusCode < 300 || statusCode >= 400 || !next) throw answered(statusCode, first);
    if (
      !/^https?:$/.test(next.protocol) ||
      (url.protocol === 'https:' && next.protocol !== url.protocol)
    ) {
      throw refused(first, `${url.host} redirects to ${next.protocol}//, which is not safe`);
    }
    url = next;
  }
  throw refused(first, `${url.host} redirects too often`);
}

function answered(status: number, url: string): BerthError {
  if (status === 408 || status === 429 || status >= 500) {
    return undelivered(url, `the server failed (${status}); try again later`);
  }
  const cause: Record<number, string> = {
    401: 'the server requires a login (401)',
    403: 'the server refuses (403)',
    404: 'the file does not exist (404)',
    407: 'the proxy requires a login (407)',
  };
  const text = `${cause[status] ?? `the server answers with status ${status}`}; check BERTH_CLAUDE_TARBALL, a login can stand in its URL`;
  return undelivered(url, text, { permanent: true });
}

function asFailure(error: unknown, url: string): BerthError {
  if (error instanceof BerthError) return error;
  const problem = networkProblem(error, 'BERTH_CLAUDE_TARBALL');
  // Then it is the file that failed, and its owner names that.
  if (!problem) throw error;
  const { text, permanent, cause } = problem;
  return undelivered(url, text, { permanent }, cause);
}

export function undelivered(
  url: string,
  text: string,
  details: { permanent?: boolean } = {},
  cause?: unknown,
): BerthError {
  return new BerthError('cli_undelivered', `cannot download ${url}: ${text}`, { details, cause });
}

/** @param cause the problem of the download */
export function refused(url: string, cause: string): BerthError {
  return new BerthError(
    'cli_refused',
    `cannot install ${url}: ${cause}; set BERTH_CLAUDE_TARBALL and BERTH_CLAUDE_INTEGRITY to dist.tarball and dist.integrity of \`npm view\` for one version, and check that no proxy changes the download`,
  );
}
