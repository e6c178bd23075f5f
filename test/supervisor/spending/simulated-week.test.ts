/**
 * A week with a scripted clock: a person uses the account outside of berth, and 200 background jobs arrive each day, in two
 * batches. The shares, the admission, the decision to park and a job store are the real ones; the account is a model.
 */
import t from 'tap';
import { asBerthError, BerthError } from '../../../shared/errors.ts';
import { silent } from '../../../shared/log.ts';
import { usageLimitIn } from '../../../supervisor/claude/usage-limit.ts';
import { afterRun } from '../../../supervisor/jobs/after-run.ts';
import type { Job } from '../../../supervisor/jobs/job.ts';
import { builtInProfile, type Profile } from '../../../supervisor/profiles/profile.ts';
import { Admission } from '../../../supervisor/prompts/admission.ts';
import { LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import type { Pause } from '../../../supervisor/prompts/pause.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import { PromptRate } from '../../../supervisor/spending/prompt-rate.ts';
import { SharedRate } from '../../../supervisor/spending/shared-rate.ts';
import type { SpendingLedger } from '../../../supervisor/spending/spending.ts';
import { reportsIn, UsageWindows } from '../../../supervisor/spending/usage-windows.ts';
import { quotaRefusalOf } from '../../../supervisor/wiring/quota-report.ts';
import { answerOf } from '../../support/api-server.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { SimulatedAccount } from '../../support/simulated-account.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
/** A Monday. */
const start = Date.parse('2026-03-02T00:00:00Z');
const shares = { fiveHour: 0.6, sevenDay: 0.8 };
const [fiveHours, week] = [100, 1_400];
const [workers, jobsPerDay] = [3, 200];
/** The times of a day at which jobs arrive. */
const batches = [7 * hour, 12.5 * hour];

/** The same numbers from 0 to 1 in each run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** What the person uses in that minute: more on workdays, little on Saturday, nothing on Sunday. */
function personUses(now: number, random: () => number): number {
  const weekday = Math.floor((now - start) / day);
  const hours = ((now - start) % day) / hour;
  const works = weekday < 5 && ((hours >= 8 && hours < 12) || (hours >= 13 && hours < 18));
  const dabbles = weekday === 5 && hours >= 10 && hours < 12;
  if (!(works || dabbles) || random() > 0.1) return 0;
  return random() * 2;
}

interface Week {
  personRefused: number;
  ownerRefused: number;
  jobs: { arrived: number; done: number; parkings: number };
  /** Of each weekly window: what automation could use beside the person and the reserve, and what it has used. */
  weeks: { left: number; used: number }[];
  /** The most that one five-hour window had, as a share. */
  fullest: number;
}

async function simulate(profile: Profile, days: number, random = seeded(1)): Promise<Week> {
  const clock = { now: start };
  const windows = new UsageWindows(() => clock.now);
  const account = new SimulatedAccount(fiveHours, week);
  // A week of the account that has begun before: it ends on Wednesday morning.
  Object.assign(account.windows.seven_day, {
    used: 0.5 * week,
    endsAt: start + 2 * day + 10 * hour,
  });
  const admission = new Admission({
    live: new LivePrompts(),
    pause: { refusal: undefined } as Pause,
    ledger: { check: () => {} } as unknown as SpendingLedger,
    budgetsOf: () => ({ profile: profile.name, limits: {} }),
    quotaRefusal: ({ profile, priority }) =>
      quotaRefusalOf(windows, profile, { priority }, clock.now),
    rate: new SharedRate(new PromptRate(() => clock.now), silent),
    lostLogin: () => undefined,
    knowsToken: () => true,
    settings: { assertInForce: () => {} },
    disk: { assertRoom: async () => {} },
    gate: { passRefusalOf: () => undefined },
    keyOf: () => 'default',
  });
  const background = { token: 'n8n', profile, priority: 'background' } as Prompt;
  const owners = { token: 'owner', profile: builtInProfile(0) } as Prompt;
  const store = memoryJobStore();
  const running: { job: Job; endsAt: number; cost: number }[] = [];
  const result: Week = {
    ...{ personRefused: 0, ownerRefused: 0, fullest: 0 },
    ...{ jobs: { arrived: 0, done: 0, parkings: 0 }, weeks: [] },
  };
  const hear = (): void => {
    const limit = usageLimitIn(account.report(clock.now));
    if (limit) windows.heard('default', reportsIn(limit));
  };
  const end = async (job: Job, how: Parameters<typeof afterRun>[1]): Promise<void> => {
    const after = await store.update(job.id, (found) =>
      afterRun(found, how, clock.now, { random }),
    );
    if (after?.state === 'parked') result.jobs.parkings += 1;
    if (after?.state !== 'succeeded') return;
    result.jobs.done += 1;
    await store.remove(job.id);
  };
  const weekly = {
    endsAt: account.windows.seven_day.endsAt,
    before: 0.5 * week,
    person: 0,
    used: 0,
  };
  const closeWeek = (): void => {
    const left = shares.sevenDay * week - weekly.before - weekly.person;
    result.weeks.push({ left, used: weekly.used });
    Object.assign(weekly, { before: 0, person: 0, used: 0 });
  };

  for (; clock.now < start + days * day; clock.now += minute) {
    const { now } = clock;
    if (now === weekly.endsAt) closeWeek();
    const batch = batches.includes((now - start) % day) ? jobsPerDay / batches.length : 0;
    for (let count = 0; count < batch; count += 1) {
      result.jobs.arrived += 1;
      await store.add(
        jobOf({ createdAt: now, dueAt: now, priority: 'background', profile: profile.name }),
      );
    }
    const own = personUses(now, random);
    if (own > 0) {
      const reached = account.windows.seven_day.used >= shares.sevenDay * week;
      if (!account.use(own, now)) result.personRefused += 1;
      // What the person uses from the reserve takes nothing from automation.
      else if (!reached) weekly.person += own;
      try {
        await admission.check(owners);
      } catch {
        result.ownerRefused += 1;
      }
    }
    for (const run of [...running]) {
      const accepted = account.use(run.cost, now);
      if (accepted) weekly.used += run.cost;
      if (accepted && now < run.endsAt) continue;
      running.splice(running.indexOf(run), 1);
      hear();
      const error = new BerthError('usage_limit', 'cannot send the prompt: a limit; wait');
      await end(run.job, accepted ? { answer: answerOf('done') } : { error });
    }
    // As berth asks now and then.
    if (now % (10 * minute) === 0) hear();
    while (running.length < workers) {
      const job = await store.claim('berth', now);
      if (!job) break;
      try {
        await admission.check(background);
      } catch (error) {
        await end(job, { error: asBerthError(error) });
        continue;
      }
      const minutes = 4 + Math.floor(random() * 5);
      running.push({ job, endsAt: now + minutes * minute, cost: (0.7 + random()) / (minutes + 1) });
    }
    const { used, limit } = account.windows.five_hour;
    result.fullest = Math.max(result.fullest, used / limit);
  }
  closeWeek();
  return result;
}

const automation = (quota: Profile['limits']['quota']): Profile => ({
  ...builtInProfile(0),
  name: 'automation',
  limits: { ...builtInProfile(0).limits, quota },
});

t.test('the person is never refused, and automation uses the remaining quota', async (t) => {
  const seen = await simulate(automation(shares), 7);
  t.comment(JSON.stringify(seen));
  t.equal(seen.personRefused, 0);
  t.equal(seen.ownerRefused, 0, 'a profile without a share goes on');
  t.ok(seen.jobs.parkings > 0, 'jobs had to wait');
  for (const { left, used } of seen.weeks) t.ok(used >= 0.9 * left, `${used} of ${left}`);
});

t.test('without a share the same jobs lock the person out', async (t) => {
  const seen = await simulate(automation({}), 1);
  t.comment(JSON.stringify(seen));
  t.ok(seen.personRefused > 0);
});
