/**
 * Describes the login and the ownership for `--check`: which credentials exist and when they
 * expire, which of them a run would write to the volume, and how many files the CLI does not own.
 * Invariants: nothing is changed, and no token is shown.
 */
import type { Stats } from 'node:fs';
import type { Credentials } from '../shared/credentials.ts';
import { type Log, silent } from '../shared/log.ts';
import { formatDuration } from '../shared/units.ts';
import type { InitConfig } from './config.ts';
import { chooseCredentials } from './login/credentials.ts';
import { findBelow, mayWrite } from './volume/foreign-files.ts';
import { isRoot } from './volume/ownership.ts';

export type Row = [name: string, ...lines: string[]];

const places = {
  volume: 'on the volume',
  source: 'the source',
  live: 'the live source',
  last_good: 'the last good ones',
} as const;

const mostOwners = 5;

/** @throws BerthError `volume_damaged` if a newer berth wrote the credentials memory */
export async function credentialsRows(config: InitConfig): Promise<Row[]> {
  const unusable: string[] = [];
  const log: Log = {
    ...silent,
    warn: (_, message, fields) => {
      const place = places[fields?.from as keyof typeof places];
      unusable.push(`${place}: ${message.replace(/^credentials cannot/, 'they cannot')}`);
    },
  };
  const { found, from } = await chooseCredentials({
    ...config,
    source: config.credentialsSource,
    liveSource: config.credentialsLiveSource,
    policy: config.credentialsPolicy,
    log,
  });
  const known = Object.entries(places).flatMap(([name, place]) => {
    const one = found.known[name as keyof typeof places];
    return one ? [`${place}: ${until(one)}`] : [];
  });
  const { volume } = found.known;
  if (found.unreadable !== undefined) {
    unusable.push(`${places.volume}: they cannot be read: ${found.unreadable}`);
  }
  const outcome =
    found.unreadable !== undefined
      ? 'a run keeps the credentials on the volume'
      : from === undefined
        ? `a run finds none${found.blanked ? ', because the login server refused the earlier ones' : ''}; log in with the CLI, or give the runtime container an API key`
        : volume && found.known[from]?.digest === volume.digest
          ? 'a run keeps the credentials on the volume'
          : `a run writes ${places[from]}`;
  return [['login', ...known, ...unusable, outcome]];
}

function until({ expiresAt, refreshTokenExpiresAt }: Credentials): string {
  const access = `access ${endOf(expiresAt)} (the CLI renews it)`;
  return refreshTokenExpiresAt === undefined
    ? access
    : `${access}, login ${endOf(refreshTokenExpiresAt)}`;
}

function endOf(time: number): string {
  const minutes = Math.round((time - Date.now()) / 60_000);
  if (minutes <= 0) return `ended ${new Date(time).toISOString()}`;
  return `ends in ${formatDuration(minutes * 60_000)}`;
}

export async function ownershipRows(config: InitConfig): Promise<Row[]> {
  const { configDirectory, stateDirectory, owner } = config;
  const counts = new Map<string, number>();
  const groups = new Set([...(process.getgroups?.() ?? []), process.getegid?.()]);
  const fits = (status: Stats): boolean => {
    const { uid, gid } = status;
    const foreign = isRoot()
      ? uid !== owner.uid || gid !== owner.gid
      : !mayWrite(status, owner.uid, groups);
    if (foreign) counts.set(`${uid}:${gid}`, (counts.get(`${uid}:${gid}`) ?? 0) + 1);
    return false;
  };
  let closed = 0;
  const { signal } = new AbortController();
  await findBelow([configDirectory, stateDirectory], fits, {
    signal,
    refused: () => void closed++,
  });
  const cli = `${owner.uid}:${owner.gid}`;
  const unread = closed > 0 ? [`${closed} directories cannot be read`] : [];
  if (counts.size === 0) return [['owner', `all is the CLI's (${cli})`, ...unread]];
  const all = [...counts].sort(([, a], [, b]) => b - a);
  const some = all.slice(0, mostOwners).map(([who, count]) => `${count} of ${who}`);
  const remedy = isRoot()
    ? `a run changes their owner to ${cli}`
    : `the CLI (${cli}) cannot write them: set fsGroup, or run init once as root`;
  const rest = all.length > mostOwners ? ' and others' : '';
  return [['owner', `${some.join(', ')}${rest}; ${remedy}`, ...unread]];
}
