/**
 * Checks whether this process may use the volume, before anything is written: the most common
 * mistake of a first deployment gets its own message.
 */
import type { Stats } from 'node:fs';
import { access, constants, stat, statfs } from 'node:fs/promises';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { unwritable } from '../../shared/files.ts';

/** File systems without fsGroup, by their number in statfs(2). */
const withoutFsGroup: Readonly<Record<number, string>> = {
  26985: 'NFS',
  4283649346: 'CIFS',
  4266872130: 'SMB',
  16914839: '9p',
};

/** @throws BerthError `volume_unwritable` with the missing setting */
export async function assertUsable(directory: string): Promise<void> {
  const status = await stat(directory).catch(() => undefined);
  // An absent volume is reported by the code that opens it.
  if (!status?.isDirectory()) return;
  try {
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    if (systemCode(cause) === 'EROFS') throw unwritable(directory, cause);
    const type = (await statfs(directory).catch(() => undefined))?.type ?? 0;
    const process = { uid: userId(), gid: groupId(), groups: groupIds() };
    throw new BerthError('volume_unwritable', refusal(directory, status, type, process), { cause });
  }
}

export interface Identity {
  uid: number;
  gid: number;
  groups: readonly number[];
}

/**
 * Why a process cannot use a volume, and the setting that helps; `type` is the number of statfs.
 */
export function refusal(
  directory: string,
  { uid, gid, mode }: Pick<Stats, 'uid' | 'gid' | 'mode'>,
  type: number,
  process: Identity,
): string {
  const permissions = (mode & 0o7777).toString(8);
  const cause = `cannot use ${directory}: it belongs to ${uid}:${gid} with mode ${permissions}, and berth-init runs as ${process.uid}:${process.gid}`;
  const kind = withoutFsGroup[type];
  if (process.uid === 0 && kind) {
    return `${cause}; a volume of ${kind} may restrict root (root_squash): run init as the user that owns it there (runAsUser), or allow root on its server`;
  }
  if (process.uid === 0) {
    return `${cause} without the capability DAC_OVERRIDE; add CHOWN, DAC_OVERRIDE and FOWNER`;
  }
  const byHand = `chown it on its server to ${process.uid}:${process.gid}, or run init as root with the capabilities CHOWN, DAC_OVERRIDE and FOWNER`;
  if (kind) return `${cause}; a volume of ${kind} ignores fsGroup: ${byHand}`;
  const others = process.groups.filter((group) => group !== process.gid);
  if (others.length > 0 && !others.includes(gid)) {
    return `${cause} (groups ${others.join(', ')}); the volume ignores fsGroup, as hostPath and some drivers do: ${byHand}`;
  }
  return `${cause}; set fsGroup: ${process.gid} in the pod's securityContext. If it is set, the volume ignores it (NFS, hostPath and some drivers do): ${byHand}`;
}

const userId = () => process.geteuid?.() ?? 0;
const groupId = () => process.getegid?.() ?? 0;
const groupIds = () => process.getgroups?.() ?? [];
