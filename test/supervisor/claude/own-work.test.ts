import t from 'tap';
import { ControlRequests } from '../../../supervisor/claude/control-requests.ts';
import { OwnWork } from '../../../supervisor/claude/own-work.ts';
import { endedError } from '../../../supervisor/claude/process-errors.ts';

const task = { type: 'local_bash', description: 'a build' };

t.test('a process works while it has a turn of its own or a task in the background', async (t) => {
  const work = new OwnWork();
  t.equal(work.active, false);
  work.turnBegins();
  t.equal(work.active, true);
  work.turnEnds();
  t.equal(work.active, false);
  work.tasksChange([task]);
  t.equal(work.active, true);
});

t.test(
  'after the end of a task it works until the turn that reports the task is over',
  async (t) => {
    const work = new OwnWork();
    work.tasksChange([task, task]);
    work.tasksChange([]);
    t.equal(work.active, true, 'the report is to come');
    work.turnBegins();
    t.equal(work.active, true);
    work.turnEnds();
    t.equal(work.active, false);
  },
);

t.test('a control request has the response to its own id', async (t) => {
  const controls = new ControlRequests();
  const [one, two] = [controls.begin(), controls.begin()];
  t.not(one.id, two.id);
  controls.settle(two.id, undefined, 'second');
  controls.settle('unknown', undefined, 'third');
  t.equal(await two.response, 'second');
  controls.settle(one.id, 'no such subtype', undefined);
  await t.rejects(one.response, { code: 'cli_unavailable', message: /answered "no such subtype"/ });
});

t.test('all control requests fail when the process ends', async (t) => {
  const controls = new ControlRequests();
  const { response } = controls.begin();
  const end = { exitCode: 3, signal: null, stderr: 'out of cheese' };
  controls.failAll(endedError({ end, refused: undefined, givenUp: false }));
  await t.rejects(response, {
    code: 'cli_unavailable',
    message: /ended with exit code 3 \(out of cheese\); try again/,
    details: { exit_code: 3, signal: null },
  });
});
