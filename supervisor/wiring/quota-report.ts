/** Measures prompts by the owner's share of an account, and describes windows and shares for metrics and status. */
import type { BerthError } from '../../shared/errors.ts';
import type { QuotaReport } from '../metrics/quota.ts';
import { loginOf } from '../profiles/login.ts';
import type { Profile } from '../profiles/profile.ts';
import { type PromptPriority, quotaRefusal, shareOf } from '../spending/quota.ts';
import type { UsageWindows } from '../spending/usage-windows.ts';

const priorities = ['normal', 'background'] as const;
const sharedWindows = ['five_hour', 'seven_day'] as const;

/** The error for a prompt that may not use the account now. @param model of the request, if it names one */
export function quotaRefusalOf(
  windows: UsageWindows,
  profile: Profile,
  { model, priority = 'normal' }: { model?: string; priority?: PromptPriority | undefined } = {},
  now = Date.now(),
): BerthError | undefined {
  const { quota, quotaBackground } = profile.limits;
  const use = {
    ...{ login: loginOf(profile), profile: profile.name, quota, quotaBackground },
    ...{ priority, model: model ?? profile.model },
  };
  return quotaRefusal(windows, use, now);
}

export function quotaReport(profiles: readonly Profile[], windows: UsageWindows): QuotaReport {
  const shares = profiles.flatMap((profile) =>
    priorities.flatMap((priority) =>
      sharedWindows.flatMap((window) => {
        const share = shareOf({ ...profile.limits, priority }, window);
        const login = loginOf(profile);
        return share === undefined
          ? []
          : [{ profile: profile.name, login, priority, window, share }];
      }),
    ),
  );
  const bounded = profiles.flatMap((profile) =>
    priorities
      .filter((priority) =>
        shares.some((share) => share.profile === profile.name && share.priority === priority),
      )
      .map((priority) => ({
        ...{ profile: profile.name, priority },
        reserved: quotaRefusalOf(windows, profile, { priority }) !== undefined,
      })),
  );
  return {
    windows: windows.logins.flatMap((login) =>
      (windows.of(login) ?? []).map(({ name, used, resetsAt, heardAt }) => ({
        ...{ login, window: name, used, resetsAt, heardAt },
      })),
    ),
    shares,
    reserved: bounded,
  };
}
