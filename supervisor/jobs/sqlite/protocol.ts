/** The messages between the store and its thread. */
import type { BerthError } from '../../../shared/errors.ts';
import type { JobDatabase } from './job-database.ts';
import type { Refusal } from './job-rows.ts';
import type { Salvage } from './salvage.ts';

/** The operations of the database, and whether their changes must survive a power cut when they are answered. */
export const operations = {
  add: true,
  replace: true,
  remove: true,
  // A job that is taken or queued again is found again after a power cut.
  advance: false,
  claim: false,
  claimCallback: false,
  reclaim: false,
  unpark: false,
  appendEvents: false,
  prune: false,
  read: false,
  findByKey: false,
  readHead: false,
  lanes: false,
  nextDue: false,
  events: false,
  list: false,
  counts: false,
} as const satisfies Partial<Record<keyof JobDatabase, boolean>>;

export type Operation = keyof typeof operations;

export interface OpenOptions {
  path: string;
  results: string;
  most: number;
}

export type Opened = { kind: 'open' } | { kind: 'damaged'; reason: string };

/** A complete file of jobs, which is to replace the file at the path; the next opening does so after a kill. */
export const successorOf = (path: string): string => `${path}.new`;

/** All calls by name. */
export interface Calls extends Pick<JobDatabase, Operation> {
  open: (options: OpenOptions) => Opened;
  /** Saves the jobs of a damaged file in its successor. */
  rescue: (options: OpenOptions) => Salvage;
  shrink: () => void;
  close: () => void;
}

export interface Call {
  id: number;
  name: keyof Calls;
  args: unknown[];
}

export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: Pick<BerthError, 'code' | 'message' | 'details'> };

/** Something to be logged: a row was refused, or the file had been removed and was written again. */
export type Notice = { kind: 'refused'; refusal: Refusal } | { kind: 'moved' };

export type FromThread = { replies: Reply[] } | { notice: Notice };
