/**
 * Computes the name of the directory in which the CLI keeps the transcripts of a working directory.
 * Invariant: the name is the one that the CLI computes itself, so both find the same transcripts.
 */

/** The longest name that the CLI keeps whole. */
const longest = 200;

/**
 * The directory below `projects/` that has the CLI's transcripts of a working directory, as seen with 2.1.330: each
 * character that is not a letter or a digit becomes `-`; a name of more than 200 characters is cut, and gets a digest of
 * the whole path.
 * @param workingDirectory absolute, without symlinks
 */
export function projectDirectory(workingDirectory: string): string {
  const name = workingDirectory.replaceAll(/[^a-zA-Z0-9]/g, '-');
  if (name.length <= longest) return name;
  return `${name.slice(0, longest)}-${digest(workingDirectory)}`;
}

/** The string hash of Java's library, in base 36. */
function digest(text: string): string {
  let hash = 0;
  for (let index = 0; index < text.length; index++) {
    hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
  }
  return Math.abs(hash).toString(36);
}
