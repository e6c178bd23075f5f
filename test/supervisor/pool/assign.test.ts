import t from 'tap';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { assign } from '../../../supervisor/pool/assign.ts';
import type { ProcessSpec } from '../../../supervisor/pool/process-spec.ts';
import type { Ticket } from '../../../supervisor/pool/waiting-line.ts';
import { Worker } from '../../../supervisor/pool/worker.ts';

const specOf = (more: Partial<ProcessSpec> = {}): ProcessSpec => ({
  ...{ profile: 'default', key: 'plain', sessionId: 's', resumes: true, once: false, own: false },
  background: 600_000,
  launch: () => {
    throw new Error('nothing is started here');
  },
  ...more,
});

/** An idle worker of the session `s`. */
function idleWorker(process: Partial<ClaudeProcess>, spec: ProcessSpec): Worker {
  const worker = new Worker('worker-1', process as ClaudeProcess, spec);
  worker.become('idle');
  return worker;
}

const actionsFor = (worker: Worker, spec: ProcessSpec) =>
  assign({
    ...{ workers: [worker], waiting: [{ spec } as Ticket], warm: [], refill: true },
    ...{ maxWorkers: 2, mayLaunch: () => true },
  }).map((action) => ('reason' in action ? action.reason : action.do));

t.test('a prompt with other flags waits for a report, and not for other work', async (t) => {
  const next = specOf({ key: 'other' });
  const actions = (process: Partial<ClaudeProcess>, spec = specOf()) =>
    actionsFor(idleWorker(process, spec), next);
  t.same(actions({ reporting: false, works: false }), ['renewed']);
  t.same(actions({ reporting: false, works: true }), ['renewed']);
  t.same(actions({ reporting: true, works: true }), []);
  t.same(
    actions({ reporting: true, works: true }, specOf({ background: 0 })),
    ['renewed'],
    'the profile gives its work no time',
  );
});

t.test('a process with a budget of its own serves one prompt', async (t) => {
  const spec = specOf({ once: true });
  const worker = idleWorker({ reporting: false }, spec);
  t.same(actionsFor(worker, spec), ['hand'], 'a resumed one has served none');
  worker.become('busy');
  worker.become('idle');
  t.same(actionsFor(worker, spec), ['renewed']);
});

t.test(
  'spares start one after the other, and what a prompt waits for starts at once',
  async (t) => {
    const fresh = specOf({ sessionId: undefined, key: 'fresh' });
    const other = specOf({ sessionId: undefined, key: 'other' });
    const situation = {
      ...{
        warm: [fresh, other].map((spec) => ({ spec, count: 2, optional: false })),
        refill: true,
      },
      ...{ maxWorkers: 9, mostStarts: 1, mayLaunch: () => true },
    };
    const keys = (workers: Worker[], waiting: ProcessSpec[] = []) =>
      assign({ ...situation, workers, waiting: waiting.map((spec) => ({ spec }) as Ticket) }).map(
        (action) => (action.do === 'launch' ? action.spec.key : action.do),
      );
    t.same(keys([]), ['fresh']);
    const starting = new Worker('worker-1', {} as ClaudeProcess, fresh);
    t.same(keys([starting]), [], 'the next one would slow the first one down');
    t.same(keys([starting], [specOf(), other]), ['plain', 'other']);
    starting.become('warm');
    t.same(keys([starting]), ['fresh']);
  },
);
