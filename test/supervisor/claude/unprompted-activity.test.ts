import t from 'tap';
import { UnpromptedActivity } from '../../../supervisor/claude/unprompted-activity.ts';

const task = { type: 'local_bash', description: 'a build' };

t.test('a process is active while it has an unprompted turn or a background task', async (t) => {
  const activity = new UnpromptedActivity();
  t.equal(activity.active, false);
  activity.turnBegins();
  t.equal(activity.active, true);
  activity.turnEnds();
  t.equal(activity.active, false);
  activity.tasksChange([task]);
  t.equal(activity.active, true);
});

t.test(
  'after the end of a task the process is active until the turn that reports the task has ended',
  async (t) => {
    const activity = new UnpromptedActivity();
    activity.tasksChange([task, task]);
    activity.tasksChange([]);
    t.equal(activity.active, true, 'the report is due');
    activity.turnBegins();
    t.equal(activity.active, true);
    activity.turnEnds();
    t.equal(activity.active, false);
  },
);
