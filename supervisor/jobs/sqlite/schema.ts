/**
 * The tables of the jobs in SQLite, and the steps from one version of them to the next.
 * Invariants: a file of a newer version is not touched. A migration is complete or absent. Objects that berth did not
 * create, such as triggers, are damage: the tools of the CLI can write the file.
 */
import { DatabaseSync } from 'node:sqlite';
import { BerthError } from '../../../shared/errors.ts';

/**
 * The column `job` is the job, without its request and its result; the other columns of the table are copies, for the
 * indexes. `waits`: an earlier job of the session has not ended. `immediate`: nobody delayed the job. `callback_due`: see
 * `callbackDueAt`. `bytes`: with request, result and events.
 */
const version1 = `
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  token TEXT NOT NULL,
  profile TEXT NOT NULL,
  state TEXT NOT NULL,
  background INTEGER NOT NULL,
  session TEXT,
  waits INTEGER NOT NULL,
  immediate INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  expires_at INTEGER,
  ended_at INTEGER,
  parked TEXT,
  owner TEXT,
  callback_due INTEGER,
  bytes INTEGER NOT NULL,
  version INTEGER NOT NULL,
  job TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_claimable ON jobs (background, token, profile, immediate, due_at, seq)
  WHERE state = 'queued' AND waits = 0;
CREATE INDEX jobs_to_promote ON jobs (background, due_at) WHERE state IN ('scheduled', 'parked');
CREATE INDEX jobs_to_expire ON jobs (expires_at)
  WHERE state IN ('scheduled', 'queued', 'parked') AND expires_at IS NOT NULL;
CREATE INDEX jobs_of_session ON jobs (session, seq)
  WHERE state IN ('queued', 'running', 'parked') AND session IS NOT NULL;
CREATE INDEX jobs_running ON jobs (owner) WHERE state = 'running';
CREATE INDEX jobs_parked ON jobs (parked) WHERE state = 'parked';
CREATE INDEX jobs_callback ON jobs (callback_due) WHERE callback_due IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (ended_at, seq) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_of_state ON jobs (state, due_at);
CREATE INDEX jobs_of_token ON jobs (token, seq);
CREATE INDEX jobs_unfinished ON jobs (token) WHERE state IN ('scheduled', 'queued', 'running', 'parked');
CREATE TABLE requests (seq INTEGER PRIMARY KEY, request TEXT NOT NULL) STRICT;
CREATE TABLE results (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, result TEXT) STRICT;
CREATE INDEX results_in_files ON results (id) WHERE result IS NULL;
CREATE TABLE keys (
  token TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_of_job ON keys (seq);
CREATE TABLE metadata (
  name TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (name, value, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX metadata_of_job ON metadata (seq);
CREATE TABLE events (
  seq INTEGER NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (seq, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE refused (
  id TEXT NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL, job TEXT NOT NULL, request TEXT
) STRICT;
`;

/** The step at index n leads from version n to version n + 1. */
export const migrations: readonly string[] = [version1];

/**
 * Brings an open database to the newest version.
 * @throws BerthError `job_store_unavailable` if the version is newer
 */
export function migrate(db: DatabaseSync, path: string, steps = migrations): void {
  refuseNewer(db, path, steps);
  const version = versionOf(db);
  for (const [at, step] of steps.entries()) {
    if (at < version) continue;
    db.exec(`BEGIN IMMEDIATE; ${step}; PRAGMA user_version = ${at + 1}; COMMIT`);
  }
}

/**
 * Only reads the file.
 * @throws BerthError `job_store_unavailable` if the version is newer
 */
export function refuseNewer(db: DatabaseSync, path: string, steps = migrations): void {
  const version = versionOf(db);
  if (version > steps.length) {
    throw new BerthError(
      'job_store_unavailable',
      `cannot use the jobs in ${path}: the file has the format version ${version}, and this berth knows up to ${steps.length}; run the newer berth that wrote it, or move the file away`,
      { details: { reason: 'newer' } },
    );
  }
}

/** The reason why the tables are not those of this version; undefined if they are. */
export function foreignObjects(db: DatabaseSync, steps = migrations): string | undefined {
  const list = 'SELECT type, name, sql FROM sqlite_schema ORDER BY type, name';
  const objects = (of: DatabaseSync): string[] =>
    of
      .prepare(list)
      .all()
      .map((row) => JSON.stringify(row));
  const model = new DatabaseSync(':memory:');
  try {
    migrate(model, ':memory:', steps);
    const expected = new Set(objects(model));
    const found = objects(db).filter((object) => !expected.delete(object));
    const [object] = [...found, ...expected];
    return object === undefined ? undefined : `the schema differs: ${object.slice(0, 200)}`;
  } finally {
    model.close();
  }
}

export function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.user_version);
}
