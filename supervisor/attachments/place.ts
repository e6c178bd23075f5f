/**
 * Makes the content of a prompt with attachments: pictures and PDFs as content blocks, other files written into
 * `attachments/` of the working directory, with a note in the prompt.
 * Invariants: no existing file is written over, and no symlink is followed. A working directory that is gone is not made
 * again. The directory has a `.gitignore`, so that `git add` in a checkout around it leaves the files out.
 */
import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { unwritable } from '../../shared/files.ts';
import type { ContentBlock, PromptContent } from '../claude/protocol.ts';
import { type Attachment, isBlock } from './attachment.ts';
import { uniqueName } from './names.ts';

/** The directory below the working directory. */
const attachmentsDirectory = 'attachments';

export interface Place {
  /** The working directory of the process that gets the prompt. */
  path: string;
  /** Whether the directory has a checkout, so that another file there may come from the repository. */
  isCheckout: boolean;
}

/**
 * Writes the files, and returns the content of the prompt.
 * @throws BerthError `volume_unwritable`; if `attachments` is no directory, `workspace_refused` in a checkout, and
 *   `invalid_request` elsewhere
 */
export async function placeAttachments(
  text: string,
  attachments: readonly Attachment[],
  place: Place,
): Promise<PromptContent> {
  const files = attachments.filter((each) => !isBlock(each));
  const placed = files.length > 0 ? await writeFiles(files, place) : [];
  const whole = placed.length > 0 ? `${text}\n\n${noteAbout(placed)}` : text;
  const blocks = attachments.filter(isBlock).map(blockOf);
  return blocks.length > 0 ? [...blocks, { type: 'text', text: whole }] : whole;
}

interface Placed {
  name: string;
  attachment: Attachment;
}

function noteAbout(placed: readonly Placed[]): string {
  const lines = placed.map(
    ({ name, attachment: { mediaType, data } }) =>
      `- ${attachmentsDirectory}/${name} (${mediaType}, ${data.length} bytes)`,
  );
  return `Attached files, in your working directory:\n${lines.join('\n')}`;
}

function blockOf({ name, mediaType, data }: Attachment): ContentBlock {
  const source = { type: 'base64', media_type: mediaType, data: data.toString('base64') } as const;
  return mediaType === 'application/pdf'
    ? { type: 'document', title: name, source }
    : { type: 'image', source };
}

async function writeFiles(
  files: readonly Attachment[],
  { path, isCheckout }: Place,
): Promise<Placed[]> {
  const directory = join(path, attachmentsDirectory);
  try {
    await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
    if (!(await lstat(directory)).isDirectory()) throw obstructed(directory, isCheckout);
    const taken = new Set((await readdir(directory)).map((name) => name.toLowerCase()));
    if (!taken.has('.gitignore')) await writeNew(join(directory, '.gitignore'), Buffer.from('*\n'));
    const placed: Placed[] = [];
    for (const attachment of files) {
      const name = await writeUnique(directory, attachment, taken);
      placed.push({ name, attachment });
    }
    return placed;
  } catch (error) {
    throw error instanceof BerthError ? error : unwritable(directory, error);
  }
}

/** Another session of a shared directory may take the same name at the same time. */
async function writeUnique(
  directory: string,
  { name: wanted, data }: Attachment,
  taken: Set<string>,
): Promise<string> {
  for (;;) {
    const name = uniqueName(wanted, taken);
    taken.add(name.toLowerCase());
    if (await writeNew(join(directory, name), data)) return name;
  }
}

/** @returns false if the file exists */
async function writeNew(path: string, data: Buffer): Promise<boolean> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    const file = await open(path, flags, 0o600);
    try {
      await file.writeFile(data);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** A retry cannot succeed: another file has the name. */
function obstructed(directory: string, isCheckout: boolean): BerthError {
  const what = `cannot write attachments to ${directory}: it is a file or a symlink`;
  return isCheckout
    ? new BerthError(
        'workspace_refused',
        `${what}; rename it in the repository, or send the prompt without files`,
      )
    : new BerthError('invalid_request', `${what}; remove it, or send the prompt without files`);
}
