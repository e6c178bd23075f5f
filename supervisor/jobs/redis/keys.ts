/**
 * The names of all keys of berth in Redis.
 * Invariant: all of them begin with the same hash tag, so that a server in cluster mode keeps them on one node, where
 * scripts can use them together.
 */
import { createHash } from 'node:crypto';

export class Keys {
  /** Also the prefix of BullMQ's keys. */
  readonly prefix: string;
  /** All jobs by id, that is by creation. The sorted sets with ids have the score 0 unless they say otherwise. */
  readonly all: string;
  /** Queued jobs that have no entry in a queue of BullMQ yet, by the time at which they are due. */
  readonly due: string;
  /** Scheduled and parked jobs, by `dueAt`. */
  readonly later: string;
  /** Jobs in the state `queued`, by `dueAt`. */
  readonly queued: string;
  /** Waiting jobs that expire, by `expiresAt`. */
  readonly expiry: string;
  /** Ended jobs by `endedAt`. */
  readonly ended: string;
  /** The bytes of all ended jobs, with their events. */
  readonly endedBytes: string;
  /** The number of parked jobs by reason. */
  readonly reasons: string;
  /** Callbacks to be delivered, by the time of the next request. */
  readonly callbacks: string;
  /** The same, by the end of the job. */
  readonly callbacksSince: string;
  /** The last sign of life of each owner of running jobs, by the clock of Redis. */
  readonly owners: string;
  /** The last sign of life of each replica, by the clock of Redis. */
  readonly replicas: string;
  /** The replica that has a session, by the session's id; as long as there is a job of the session. */
  readonly homes: string;
  /** The queues of BullMQ that may have entries, with what they hold. */
  readonly lanes: string;
  /** The tokens by the number of the turn that served each of them last. */
  readonly turns: string;
  /** The number of turns so far. */
  readonly turn: string;
  /** The channel that reports the ids of changed jobs. */
  readonly changes: string;
  /** What each replica shares with the others. */
  readonly states: string;
  /** The ids of jobs whose record could not be read, by the time at which each was set aside. */
  readonly refused: string;
  /** The bytes of the attachments of each job, by the id of the job. */
  readonly files: string;
  /** The bytes of the transcript of each mirrored session. */
  readonly mirrorBytes: string;
  /** The mirrored sessions by the time of their last change, by the clock of Redis. */
  readonly mirrorTimes: string;
  /** Held by the replica that sweeps. */
  readonly sweep: string;
  /** Written to see whether the server accepts writes. */
  readonly probe: string;

  constructor(name: string) {
    this.prefix = `{${name}}`;
    const key = (rest: string): string => `${this.prefix}:jobs:${rest}`;
    this.all = key('all');
    this.due = key('due');
    this.later = key('later');
    this.queued = key('queued');
    this.expiry = key('expiry');
    this.ended = key('ended');
    this.endedBytes = key('ended-bytes');
    this.reasons = key('reasons');
    this.callbacks = key('callbacks');
    this.callbacksSince = key('callbacks-since');
    this.owners = key('owners');
    this.replicas = key('replicas');
    this.homes = key('homes');
    this.lanes = key('lanes');
    this.turns = key('turns');
    this.turn = key('turn');
    this.changes = key('changes');
    this.states = key('states');
    this.refused = key('refused');
    this.files = key('files');
    this.mirrorBytes = key('mirror-bytes');
    this.mirrorTimes = key('mirror-times');
    this.sweep = key('sweep');
    this.probe = key('probe');
  }

  /** What the key of each job begins with. */
  get jobs(): string {
    return `${this.prefix}:job:`;
  }

  job(id: string): string {
    return `${this.jobs}${id}`;
  }

  events(id: string): string {
    return `${this.prefix}:events:${id}`;
  }

  /** The record of a mirrored session, and its replica. */
  mirrored(session: string): string {
    return `${this.prefix}:mirrored:${session}`;
  }

  /** The transcript of a mirrored session. */
  transcript(session: string): string {
    return `${this.prefix}:transcript:${session}`;
  }

  /** The contents of the attachments of a job, by their number. */
  readonly filesOf = (id: string): string => `${this.prefix}:files:${id}`;

  state(state: string): string {
    return `${this.prefix}:jobs:state:${state}`;
  }

  /** The jobs that are parked for a reason. */
  parkedFor(reason: string): string {
    return `${this.prefix}:jobs:parked:${reason}`;
  }

  token(token: string): string {
    return `${this.prefix}:jobs:token:${token}`;
  }

  /** The jobs of a token that have not ended. */
  unfinished(token: string): string {
    return `${this.prefix}:jobs:unfinished:${token}`;
  }

  /** Where the record of a job is kept that cannot be read. */
  refusedJob(id: string): string {
    return `${this.prefix}:refused:${id}`;
  }

  /** The jobs of a session that have not ended, in their order; the one that runs has the score -1 and so is the first. */
  session(id: string): string {
    return `${this.prefix}:jobs:session:${id}`;
  }

  /** The prompts that a token has started within an hour with a profile, by the clock of Redis. */
  starts(token: string, profile: string): string {
    const hash = createHash('sha256')
      .update(JSON.stringify([profile, token]))
      .digest('hex');
    return `${this.prefix}:starts:${hash}`;
  }

  /** All jobs of a session, also those that have ended. */
  ofSession(id: string): string {
    return `${this.prefix}:jobs:of-session:${id}`;
  }

  /** The first use of an idempotency key. */
  idempotency(token: string, key: string): string {
    const hash = createHash('sha256').update(`${token}\n${key}`).digest('hex');
    return `${this.prefix}:jobs:key:${hash}`;
  }
}
