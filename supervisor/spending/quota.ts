/**
 * Keeps a part of the account for its owner: prompts are refused while the account has used more of a window than the
 * profile allows them.
 * Invariants: a window that is unknown refuses nothing, but background prompts wait some time after a start for the first
 * figures: each start would let them use what is reserved. The weekly share also counts for the weekly windows of single
 * models, except windows of a model that the prompt surely does not use.
 */
import { BerthError } from '../../shared/errors.ts';
import type { QuotaShares } from '../profiles/profile.ts';
import type { UsageWindowName, UsageWindows } from './usage-windows.ts';

export type PromptPriority = 'normal' | 'background';

/** What a prompt is measured by. */
export interface QuotaUse {
  /** The key of the login. */
  login: string;
  /** The name of the profile. */
  profile: string;
  quota: QuotaShares;
  quotaBackground: QuotaShares;
  priority: PromptPriority;
  /** The model or alias that the prompt names; undefined: the choice of the CLI. */
  model: string | undefined;
}

/** Seconds after which a client may retry, if the end of the window is unknown. */
const retryUnknown = 900;

/** Milliseconds after a start for which background prompts wait for the first figures of a login. */
const firstFigures = 120_000;
/** Seconds after which they may try again. */
const retryFirst = 30;

/** The share of a window up to which a prompt may use the account; undefined: no bound. */
export function shareOf(
  { quota, quotaBackground, priority }: Pick<QuotaUse, 'quota' | 'quotaBackground' | 'priority'>,
  window: UsageWindowName,
): number | undefined {
  const field = window === 'five_hour' ? 'fiveHour' : 'sevenDay';
  const shares = [quota[field], priority === 'background' ? quotaBackground[field] : undefined];
  const set = shares.filter((share) => share !== undefined);
  return set.length > 0 ? Math.min(...set) : undefined;
}

/** The error `quota_reserved` for a prompt that may not use the account now; undefined if it may. */
export function quotaRefusal(
  windows: UsageWindows,
  use: QuotaUse,
  now: number,
): BerthError | undefined {
  const known = windows.of(use.login);
  if (!known && awaitsFigures(windows, use, now)) {
    return new BerthError(
      'quota_reserved',
      `cannot send the prompt: berth has just started, and does not know yet how much of the account is used, of which background jobs of the profile ${use.profile} may use a share; try again in ${retryFirst} s`,
      { details: { retry_after: retryFirst } },
    );
  }
  const over = (known ?? []).flatMap(({ name, used, resetsAt }) => {
    const share = concerns(name, use.model) ? shareOf(use, name) : undefined;
    return share !== undefined && used >= share ? [{ name, used, share, resetsAt }] : [];
  });
  // The prompt may run when the last of these windows has ended.
  const last = over.reduce<(typeof over)[number] | undefined>(
    (latest, each) => (latest && end(latest) >= end(each) ? latest : each),
    undefined,
  );
  if (!last) return undefined;
  const { name, used, share, resetsAt } = last;
  const resets_at = resetsAt === undefined ? undefined : new Date(resetsAt).toISOString();
  const whose = use.priority === 'background' ? 'background jobs' : 'prompts';
  const until = resets_at === undefined ? 'try again later' : `wait until ${resets_at}`;
  return new BerthError(
    'quota_reserved',
    `cannot send the prompt: ${percent(used)} of the account's ${name.replaceAll('_', ' ')} window is used, and ${whose} of the profile ${use.profile} may use it up to ${percent(share)}; ${until}, or raise limits.quota in the profiles file`,
    {
      details: {
        window: name,
        ...(resets_at === undefined ? {} : { resets_at }),
        retry_after:
          resetsAt === undefined ? retryUnknown : Math.max(1, Math.ceil((resetsAt - now) / 1_000)),
      },
    },
  );
}

function awaitsFigures({ since }: UsageWindows, use: QuotaUse, now: number): boolean {
  const hasShare = (['five_hour', 'seven_day'] as const).some(
    (window) => shareOf(use, window) !== undefined,
  );
  const isYoung = now >= since && now < since + firstFigures;
  return use.priority === 'background' && hasShare && isYoung;
}

function concerns(window: UsageWindowName, model: string | undefined): boolean {
  const [, only] = /^seven_day_(\w+)$/.exec(window) ?? [];
  // An alias such as `opusplan`, and the choice of the CLI, may use several models.
  const single = model !== undefined && /^[a-z]*-?(opus|sonnet|haiku)(-|\[|$)/.exec(model)?.[1];
  return only === undefined || !single || single === only;
}

function end({ resetsAt }: { resetsAt: number | undefined }): number {
  return resetsAt ?? 0;
}

function percent(share: number): string {
  return `${Math.floor(share * 100 + 1e-9)} %`;
}
