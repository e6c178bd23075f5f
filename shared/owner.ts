/** Explains why the owner of a file cannot be changed: each cause with its remedy. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError, messageOf, systemCode } from './errors.ts';

export interface Owner {
  uid: number;
  gid: number;
}

/**
 * File systems on which the mount options set the owner of all files, by their number in statfs(2).
 */
const oneOwner: Readonly<Record<number, string>> = {
  19780: 'FAT',
  538032816: 'exFAT',
  1702057286: 'FUSE',
  1397118030: 'NTFS',
  1936094318: 'NTFS',
  4283649346: 'CIFS',
  4266872130: 'SMB',
};

/** The error for a `chown` that failed with `cause`. */
export async function ownerRefused(path: string, owner: Owner, cause: unknown) {
  const found = await statfs(dirname(path)).catch(() => undefined);
  return refusal(path, owner, cause, found?.type);
}

/** The same for a known file system number of statfs. */
export function refusal(path: string, owner: Owner, cause: unknown, type = 0): BerthError {
  return new BerthError(
    'volume_unwritable',
    `cannot change the owner of ${path} to ${owner.uid}:${owner.gid}: ${messageOf(cause)}; ${remedy(owner, cause, type)}`,
    { cause },
  );
}

function remedy({ uid, gid }: Owner, cause: unknown, type: number): string {
  if (systemCode(cause) === 'EINVAL') {
    return 'that user does not exist in the user namespace; set BERTH_UID and BERTH_GID to ids that the namespace maps';
  }
  const kind = oneOwner[type];
  if (kind) {
    return `on a volume of ${kind} the mount options determine the owner of all files: mount it with the options uid=${uid},gid=${gid}`;
  }
  return 'run init with the capabilities CHOWN, DAC_OVERRIDE and FOWNER, or, if the file system restricts root (NFS with root_squash), as that user (runAsUser and fsGroup)';
}
