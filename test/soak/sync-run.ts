/**
 * Pushes commits while prompts run and both programs of the pod are killed. Each commit has the same
 * canary in three files: a request to the model that has two different ones is of a process that has
 * read a half-written commit.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { scriptedClaude } from '../support/claude.ts';
import { type SyncedPrograms, startSyncedPrograms } from '../support/synced-programs.ts';
import { until } from '../support/until.ts';

export interface SyncRun {
  directory: string;
  pushes: number;
  kills: number;
  /** Prompts at a time. */
  callers: number;
  random: () => number;
}

export interface SyncResult {
  prompts: number;
  kills: number;
  pushes: number;
  /** Requests to the model that were examined. */
  requests: number;
  problems: string[];
}

const canaries = (count: number) => ({
  'CLAUDE.md': `canary ${count}\n`,
  'skills/a/SKILL.md': skill('a', count),
  'skills/b/SKILL.md': skill('b', count),
});
const skill = (name: string, count: number) =>
  `---\nname: ${name}\ndescription: canary ${count}\n---\nA skill.\n`;
const edited = 'one\n\ntwo\n';

export async function runSync(run: SyncRun): Promise<SyncResult> {
  const { random } = run;
  const problems: string[] = [];
  const pod = await startSyncedPrograms({
    ...{ directory: run.directory, cli: scriptedClaude },
    files: { ...canaries(0), 'notes.md': edited, 'settings.json': '{}\n' },
    settings: { BERTH_WARM_WORKERS: '1', BERTH_MAX_WORKERS: String(run.callers) },
  });
  writeFileSync(join(pod.volume, 'untracked.txt'), 'mine\n');
  writeFileSync(join(pod.volume, 'notes.md'), `${edited}\nmy line\n`);
  let over = false;
  let prompts = 0;
  const caller = async (name: number) => {
    for (let count = 0; !over; count += 1) {
      const id = `${name}-${count}`;
      if (!(await answered(pod, id, random))) problems.push(`the prompt ${id} had no answer`);
      prompts += 1;
    }
  };
  let kills = 0;
  const killer = async () => {
    while (!over && kills < run.kills) {
      await delay(200 + random() * 1_500);
      const name = random() < 0.5 ? 'init' : 'serve';
      const program = pod.programs[name];
      program.kill('SIGKILL');
      await program.ended;
      kills += 1;
      pod.restart(name);
    }
  };
  try {
    const callers = Array.from({ length: run.callers }, (_, name) => caller(name));
    const killing = killer();
    for (let count = 1; count <= run.pushes; count += 1) {
      await pod.push(canaries(count));
      await delay(100 + random() * 400);
    }
    await killing;
    over = true;
    await Promise.all(callers);
    const last = `canary ${run.pushes}\n`;
    // A killed init has lost the delivery: the last push is delivered again.
    await until('the last commit is on the volume', async () => {
      if (readFileSync(join(pod.volume, 'CLAUDE.md'), 'utf8') === last) return true;
      await pod.push({ 'other.md': String(random()) });
      return false;
    });
  } catch (error) {
    problems.push(String(error));
  } finally {
    over = true;
    await pod.stop();
  }
  const read = (path: string) => readFileSync(join(pod.volume, path), 'utf8');
  if (read('untracked.txt') !== 'mine\n') problems.push('an untracked file was changed');
  if (read('notes.md') !== `${edited}\nmy line\n`) problems.push('an edit was lost');
  const found = mixedRequests(pod);
  problems.push(...found.mixed);
  return { prompts, kills, pushes: run.pushes, requests: found.count, problems };
}

/** Sends the prompt until it has an answer; the same key makes repetitions one prompt. */
async function answered(pod: SyncedPrograms, id: string, random: () => number): Promise<boolean> {
  const until = performance.now() + 90_000;
  while (performance.now() < until) {
    try {
      const { status } = await pod.prompt(`[[say ${id}]]`, { 'idempotency-key': id });
      if (status === 200) return true;
    } catch {
      // The server is being started again.
    }
    await delay(100 + random() * 200);
  }
  return false;
}

function mixedRequests({ api }: SyncedPrograms): { count: number; mixed: string[] } {
  const mixed: string[] = [];
  let count = 0;
  for (const { path, body } of api.requests) {
    if (!path.startsWith('/v1/messages')) continue;
    const found = JSON.stringify(body).match(/canary \d+/g) ?? [];
    if (found.length === 0) continue;
    count += 1;
    const kinds = new Set(found);
    if (kinds.size > 1) mixed.push(`a process has read a mixed commit: ${[...kinds].join(', ')}`);
  }
  return { count, mixed };
}
