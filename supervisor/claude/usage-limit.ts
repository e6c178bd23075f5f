/** What the API says of a subscription's usage limit, as the CLI 2.1.330 passes it on. */
import { z } from 'zod';

/** A share of a window that is used: `five_hour`, `seven_day` ... */
export interface LimitWindow {
  /** 0 to 1; the API can tell more than 1. */
  utilization: number;
  /** Milliseconds since 1970. */
  resetsAt?: number | undefined;
}

/** What the API says of a subscription's usage limit, as the CLI passes it on. */
export interface UsageLimit {
  /** `allowed`, `allowed_warning` or `rejected`. */
  status: string;
  /** The window that decides: `five_hour`, `seven_day`, `seven_day_opus`, `overage` ... */
  type: string | undefined;
  /** Milliseconds since 1970. */
  resetsAt: number | undefined;
  utilization: number | undefined;
  /** True while what is over the limit is paid for and allowed. */
  usingOverage: boolean;
  windows: Record<string, LimitWindow>;
}

const count = z.number().nonnegative();

/** Times are seconds since 1970, and none that a Date cannot hold. */
const time = z
  .number()
  .positive()
  .max(8.64e12)
  .transform((seconds) => seconds * 1_000)
  .optional()
  .catch(undefined);

const limitHolder = z.object({
  rate_limit_info: z.object({
    status: z.string(),
    rateLimitType: z.string().optional().catch(undefined),
    resetsAt: time,
    utilization: count.optional(),
    isUsingOverage: z.boolean().catch(false),
    unifiedWindows: z
      .record(z.string(), z.object({ utilization: count, resetsAt: time }))
      .catch({}),
  }),
});

/** Undefined if there is none, or none that can be read: it is an advice. */
export function usageLimitIn(holder: unknown): UsageLimit | undefined {
  const parsed = limitHolder.safeParse(holder);
  if (!parsed.success) return undefined;
  const info = parsed.data.rate_limit_info;
  return {
    status: info.status,
    type: info.rateLimitType,
    resetsAt: info.resetsAt,
    utilization: info.utilization,
    usingOverage: info.isUsingOverage,
    windows: info.unifiedWindows,
  };
}
