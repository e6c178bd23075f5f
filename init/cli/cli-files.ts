/**
 * The two files of an installed CLI: the downloaded tarball, and the binary from it.
 * Invariants: no symlink is followed. A binary is unpacked only from a verified tarball.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, open, rename } from 'node:fs/promises';
import { messageOf, systemCode } from '../../shared/errors.ts';
import type { installedPlace } from '../../shared/installed-cli.ts';
import { formatDuration } from '../../shared/units.ts';
import { openDispatcher } from '../git/transport.ts';
import { download, mostTarballBytes, refused, undelivered } from './cli-download.ts';
import type { CliTarball } from './cli-settings.ts';
import { readBinary, Unpackable } from './cli-tarball.ts';

type Place = ReturnType<typeof installedPlace>;

/** A problem of an existing installation, in words. */
class Damage extends Error {}

/** Undefined if the tarball and its binary are right. */
export async function whatIsWrong(
  { binary, tarball }: Place,
  integrity: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    await assertTarball(tarball, integrity, signal);
    const file = await openToRead(binary);
    try {
      const { mode, size } = await file.stat();
      if ((mode & 0o777) !== 0o755) await file.chmod(0o755);
      let position = 0;
      await readBinary(
        tarball,
        async (part) => {
          const own = Buffer.allocUnsafe(part.length);
          const { bytesRead } = await file.read(own, 0, part.length, position);
          const same = bytesRead === part.length && own.equals(part);
          if (!same) throw new Damage('its binary differs');
          position += part.length;
        },
        { signal },
      );
      if (size !== position) throw new Damage('its binary is longer');
    } finally {
      await file.close();
    }
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return messageOf(error);
  }
}

async function assertTarball(path: string, integrity: string, signal: AbortSignal): Promise<void> {
  const file = await openToRead(path);
  try {
    const hash = createHash('sha512');
    const stream = file.createReadStream({ highWaterMark: 1024 * 1024, autoClose: false, signal });
    for await (const part of stream) hash.update(part as Buffer);
    if (`sha512-${hash.digest('base64')}` !== integrity) throw new Damage('its tarball differs');
  } finally {
    await file.close();
  }
}

async function openToRead(path: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags);
  const found = await file.stat();
  if (found.isFile() && found.size <= mostTarballBytes * 2) return file;
  await file.close();
  throw new Damage(`${path} is not a usable file`);
}

export interface FetchOptions {
  wanted: CliTarball;
  /** The directory for both files; empty. */
  made: Place;
  /** A tarball of the same id that may exist. */
  kept: string;
  signal: AbortSignal;
  /** Milliseconds for the download. */
  patience: number;
}

/**
 * Makes both files, durable when it returns.
 * @returns bytes that were downloaded
 * @throws BerthError `cli_undelivered`, `cli_refused`; an error of the file system
 */
export async function fetchCli({ wanted, made, kept, signal, patience }: FetchOptions) {
  const bytes = (await takeKept(kept, made.tarball, wanted.integrity, signal))
    ? 0
    : await downloadTo(made.tarball, wanted, signal, patience);
  const file = await open(made.binary, 'wx', 0o755);
  try {
    await readBinary(
      made.tarball,
      async (part) => {
        for (let done = 0; done < part.length; ) {
          done += (await file.write(part, done)).bytesWritten;
        }
      },
      { signal },
    );
    await file.chmod(0o755);
    await file.sync();
  } catch (error) {
    throw error instanceof Unpackable ? refused(wanted.url, error.message) : error;
  } finally {
    await file.close();
  }
  return bytes;
}

/** The tarball stays if only the binary was damaged, so that no download is needed. */
async function takeKept(
  kept: string,
  to: string,
  integrity: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await assertTarball(kept, integrity, signal);
    // On a file system without links, the damaged installation may lose it.
    await link(kept, to).catch(() => rename(kept, to));
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (systemCode(error) === 'ENOSPC') throw error;
    return false;
  }
}

async function downloadTo(
  path: string,
  wanted: CliTarball,
  signal: AbortSignal,
  patience: number,
): Promise<number> {
  const dispatcher = openDispatcher();
  const limited = AbortSignal.any([signal, AbortSignal.timeout(Math.max(patience, 1))]);
  const file = await open(path, 'wx', 0o644);
  try {
    await download(wanted, file, { dispatcher, signal: limited });
    await file.sync();
    return (await file.stat()).size;
  } catch (error) {
    if (signal.aborted || !limited.aborted) throw error;
    const time = formatDuration(Math.ceil(patience / 1_000) * 1_000);
    throw undelivered(wanted.url, `it takes longer than ${time}; raise BERTH_TIMEOUT`);
  } finally {
    await file.close();
    await dispatcher.destroy();
  }
}
