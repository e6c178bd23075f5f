/** The time limit of a prompt, and of a job, which waits behind the prompts of callers. */
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { LivePrompt } from '../../../supervisor/prompts/live-prompts.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import { until } from '../../support/until.ts';

function limited(lane: Prompt['lane']): LivePrompt {
  const live = new LivePrompt({ timeout: 30, lane } as Prompt);
  live.limitTime(() => new BerthError('prompt_timeout', 'too long'));
  return live;
}

const isOver = ({ signal }: LivePrompt) => signal.reason?.code === 'prompt_timeout';

t.test('the time limit of a job does not count while the job waits for a worker', async (t) => {
  for (const lane of ['job', 'background'] as const) {
    const job = limited(lane);
    job.become('queued');
    const left = job.deadline?.left;
    const prompt = limited('interactive');
    prompt.become('queued');
    await until('the time of the prompt is over', () => isOver(prompt));
    t.equal(job.signal.aborted, false);
    t.equal(job.deadline?.left, left);
    job.become('sent');
    await until('the time of the job is over', () => isOver(job));
  }
});

t.test('a job that lost its worker waits for the next one without loss of time', async (t) => {
  const job = limited('job');
  for (const state of ['queued', 'sent', 'recovering', 'queued'] as const) job.become(state);
  const left = job.deadline?.left;
  const prompt = limited('interactive');
  await until('the time of the prompt is over', () => isOver(prompt));
  t.equal(job.deadline?.left, left);
  t.equal(job.signal.aborted, false);
  job.become('ended');
});

t.test('a prompt that has ended is not interrupted', async (t) => {
  const ended = limited('interactive');
  ended.become('ended');
  const prompt = limited('interactive');
  await until('the time of the other prompt is over', () => isOver(prompt));
  t.equal(ended.signal.aborted, false);
});
