/** A JobStore in memory, for tests of parts that use a store. It keeps the contract, and loses all at its end. */
import { BerthError } from '../../shared/errors.ts';
import {
  blockingStates,
  callbackDueAt,
  expire,
  isDue,
  isToExpire,
  isToPromote,
  longestCallbackPause,
} from '../../supervisor/jobs/due.ts';
import {
  become,
  claimed,
  isEnd,
  type Job,
  type JobState,
  jobTransitions,
} from '../../supervisor/jobs/job.ts';
import { requeueLost } from '../../supervisor/jobs/job-attempts.ts';
import { jobsFull, keyMismatch, mostOfOneToken } from '../../supervisor/jobs/job-bounds.ts';
import type { JobEvent, JobKey, JobStore, PruneOptions } from '../../supervisor/jobs/job-store.ts';

export interface MemoryJobStore extends JobStore {
  /** While set, all methods reject with `job_store_unavailable` and this message. */
  problem: string | null;
}

const copy = structuredClone;
const eventsKept = 1_000;

/** @param most unfinished jobs, above which `add` throws `jobs_full` */
export function memoryJobStore({ most = 10_000 } = {}): MemoryJobStore {
  const jobs = new Map<string, Job>();
  const keys = new Map<string, { id: string; digest: string }>();
  const history = new Map<string, { next: number; events: JobEvent[] }>();
  /** By token: the number of its last turn. */
  const turns = new Map<string, number>();
  const listeners = new Set<(id?: string) => void>();
  let onExpired: (job: Job) => void = () => {};
  let turn = 0;

  const changed = (id: string): void => {
    for (const listener of listeners) queueMicrotask(() => listener(id));
  };
  const put = (job: Job): Job => {
    jobs.set(job.id, copy(job));
    changed(job.id);
    return copy(job);
  };
  const drop = (id: string): void => {
    jobs.delete(id);
    history.delete(id);
    for (const [key, { id: of }] of keys) if (of === id) keys.delete(key);
  };
  const find = (token: string, key: JobKey): Job | undefined => {
    const earlier = keys.get(nameOf(token, key));
    if (earlier && earlier.digest !== key.digest) throw keyMismatch(earlier.id);
    return copy(earlier && jobs.get(earlier.id));
  };
  const inOrder = (): Job[] => [...jobs.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const isBlocked = (job: Job): boolean =>
    job.sessionId !== null &&
    [...jobs.values()].some(
      (other) =>
        other.sessionId === job.sessionId &&
        (other.state === 'running' ||
          (other.id < job.id && blockingStates.includes(other.state))) &&
        other.id !== job.id,
    );
  const promote = (now: number): void => {
    for (const job of inOrder()) {
      if (isToExpire(job, now)) onExpired(put(expire(job, now)));
      else if (isToPromote(job, now)) put(become(job, 'queued', now));
    }
  };
  const open = (): void => {
    if (store.problem !== null) throw new BerthError('job_store_unavailable', store.problem);
  };

  const requireRoom = (job: Job): void => {
    const unfinished = [...jobs.values()].filter(({ state }) => !isEnd(state));
    if (unfinished.length >= most) throw jobsFull(most);
    const ofToken = unfinished.filter(({ token }) => token === job.token);
    if (ofToken.length >= mostOfOneToken(most)) throw jobsFull(mostOfOneToken(most), job.token);
  };

  const store: MemoryJobStore = {
    problem: null,
    async add(job: Job, key?: JobKey) {
      open();
      const earlier = key && find(job.token, key);
      if (earlier) return { job: earlier, created: false };
      requireRoom(job);
      if (key) keys.set(nameOf(job.token, key), { id: job.id, digest: key.digest });
      return { job: put(job), created: true };
    },
    async findByKey(token, key) {
      open();
      return find(token, key);
    },
    async read(id) {
      open();
      return copy(jobs.get(id));
    },
    async readHead(id) {
      open();
      const job = jobs.get(id);
      return job && { ...copy(job), request: { prompt: '' }, result: null };
    },
    async list({ token, states, parked, profile, metadata = {}, limit, cursor }) {
      open();
      if (cursor !== undefined && !jobs.has(cursor)) {
        throw new BerthError('invalid_request', 'cannot list the jobs: the cursor is not known');
      }
      const found = inOrder()
        .reverse()
        .filter((job) => token === undefined || job.token === token)
        .filter((job) => !states || states.includes(job.state))
        .filter((job) => parked === undefined || job.parked?.reason === parked)
        .filter((job) => profile === undefined || job.profile === profile)
        .filter((job) => Object.entries(metadata).every(([name, is]) => job.metadata[name] === is))
        .filter((job) => cursor === undefined || job.id < cursor);
      const page = found
        .slice(0, limit)
        .map((job) => ({ ...copy(job), request: { prompt: '' }, result: null }));
      return { jobs: page, cursor: found.length > limit ? (page.at(-1)?.id ?? null) : null };
    },
    async update(id, change) {
      open();
      const job = jobs.get(id);
      if (!job) return undefined;
      const next = change(copy(job));
      if (next && isEnd(job.state) && !isEnd(next.state)) requireRoom(next);
      return next ? put(next) : copy(job);
    },
    async advance(now) {
      open();
      promote(now);
    },
    async claim(owner, now, accepts = () => true) {
      open();
      promote(now);
      const rank = (job: Job): [number, number, number, string] => [
        job.priority === 'background' ? 1 : 0,
        turns.get(job.token) ?? 0,
        job.dueAt,
        job.id,
      ];
      const [next] = inOrder()
        .filter((job) => isDue(job, now) && accepts(job) && !isBlocked(job))
        .sort((a, b) => compare(rank(a), rank(b)));
      if (!next) return undefined;
      turns.set(next.token, ++turn);
      return put(claimed(next, owner, now));
    },
    async keepAlive() {
      open();
    },
    async reclaim(owner, now) {
      open();
      return inOrder()
        .filter((job) => job.state === 'running' && job.owner !== owner)
        .map((job) => put(requeueLost(job, now)));
    },
    async unpark(reasons, now, spread) {
      open();
      const found = inOrder().filter(({ parked }) => parked && reasons.includes(parked.reason));
      for (const job of found) put({ ...job, dueAt: now + Math.floor(Math.random() * spread) });
      return found.length;
    },
    async claimCallback(now, lease) {
      open();
      const due = (job: Job): number => callbackDueAt(job) ?? Number.POSITIVE_INFINITY;
      const [next] = inOrder()
        .filter((job) => callbackDueAt(job) !== undefined)
        .filter((job) => due(job) <= now || due(job) > now + longestCallbackPause)
        .sort((a, b) => due(a) - due(b));
      if (!next?.callback) return undefined;
      return put({ ...next, callback: { ...next.callback, nextAt: now + lease } });
    },
    async nextDue(now) {
      open();
      const times = inOrder().flatMap((job) => {
        const { state, dueAt, expiresAt } = job;
        if (isDue(job, now)) return isBlocked(job) ? [] : [now];
        if (state === 'running' || isEnd(state)) return [];
        return expiresAt === null ? [dueAt] : [dueAt, expiresAt];
      });
      return {
        job: least(times),
        callback: least(inOrder().flatMap((job) => callbackDueAt(job) ?? [])),
      };
    },
    async appendEvents(id, events) {
      open();
      const kept = history.get(id) ?? { next: 1, events: [] };
      if (!jobs.has(id)) return;
      for (const event of events) kept.events.push({ ...copy(event), id: kept.next++ });
      kept.events.splice(0, kept.events.length - eventsKept);
      history.set(id, kept);
      changed(id);
    },
    async events(id, after) {
      open();
      return copy((history.get(id)?.events ?? []).filter((event) => event.id > after));
    },
    async remove(id) {
      open();
      const job = jobs.get(id);
      if (!job || !isEnd(job.state)) return false;
      drop(id);
      return true;
    },
    async prune({ endedBefore, mostJobs, mostBytes }: PruneOptions) {
      open();
      const ended = inOrder()
        .filter(({ state }) => isEnd(state))
        .sort((a, b) => (b.endedAt ?? 0) - (a.endedAt ?? 0));
      let count = 0;
      let bytes = 0;
      return ended.flatMap(({ id, state, endedAt, ...rest }) => {
        count += 1;
        bytes += JSON.stringify([rest, history.get(id)?.events]).length;
        const isOver = count > mostJobs || bytes > mostBytes;
        const isKept =
          (endedAt ?? 0) >= endedBefore && !(isOver && rest.callback?.state !== 'pending');
        if (isKept || !isEnd(state)) return [];
        drop(id);
        return [{ id, state }];
      });
    },
    async counts() {
      open();
      const all = [...jobs.values()];
      const states = Object.keys(jobTransitions) as JobState[];
      const parked: Record<string, number> = {};
      for (const job of all) {
        if (job.parked) parked[job.parked.reason] = (parked[job.parked.reason] ?? 0) + 1;
      }
      const pending = all.filter((job) => callbackDueAt(job) !== undefined);
      return {
        byState: Object.fromEntries(
          states.map((state) => [state, all.filter((job) => job.state === state).length]),
        ) as Record<JobState, number>,
        parked,
        oldestQueued:
          least(all.flatMap((job) => (job.state === 'queued' ? job.dueAt : []))) ?? null,
        callbacks: {
          pending: pending.length,
          oldest: least(pending.map((job) => job.endedAt ?? 0)) ?? null,
        },
      };
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    onExpired(listener) {
      onExpired = listener;
    },
    describe: () => ({ kind: 'sqlite', available: store.problem === null, problem: store.problem }),
    async close() {
      listeners.clear();
      store.problem ??= 'cannot use the store: it is closed';
    },
  };
  return store;
}

function nameOf(token: string, { key }: JobKey): string {
  return JSON.stringify([token, key]);
}

function least(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : Math.min(...times);
}

function compare(a: readonly (string | number)[], b: readonly (string | number)[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at < 0 ? 0 : (a[at] as number) < (b[at] as number) ? -1 : 1;
}
