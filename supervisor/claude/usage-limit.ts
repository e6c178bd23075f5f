/** A subscription's usage limit, as the API reports it and the CLI 2.1.330 passes it on. */
import { z } from 'zod';

/** The used share of a window: `five_hour`, `seven_day` ... */
export interface LimitWindow {
  /** 0 to 1; the API can report more than 1. */
  utilization: number;
  /** Milliseconds since 1970. */
  resetsAt?: number | undefined;
}

/** A subscription's usage limit, as the API reports it. */
export interface UsageLimit {
  /** `allowed`, `allowed_warning` or `rejected`. */
  status: string;
  /** The deciding window: `five_hour`, `seven_day`, `seven_day_opus`, `overage` ... */
  type: string | undefined;
  /** Milliseconds since 1970. */
  resetsAt: number | undefined;
  utilization: number | undefined;
  /** True while usage over the limit is paid for and allowed. */
  usingOverage: boolean;
  windows: Record<string, LimitWindow>;
}

/** A used share: more than 1 is possible with paid overage. */
const count = z.number().nonnegative().max(100);
/** More windows than the API has: their names become labels of metrics. */
const mostWindows = 16;
const windowName = /^[a-z][a-z0-9_]{0,39}$/;

/** Seconds since 1970, within the range of Date. */
const time = z
  .number()
  .positive()
  .max(8.64e12)
  .transform((seconds) => seconds * 1_000)
  .optional()
  .catch(undefined);

const limitWindow = z.object({ utilization: count, resetsAt: time });

const limitHolder = z.object({
  rate_limit_info: z.object({
    status: z.string(),
    rateLimitType: z.string().optional().catch(undefined),
    resetsAt: time,
    utilization: count.optional(),
    isUsingOverage: z.boolean().catch(false),
    unifiedWindows: z.record(z.string(), z.unknown()).catch({}).transform(readWindows),
  }),
});

/** The readable windows; a window of another shape does not hide the others. */
function readWindows(found: Record<string, unknown>): Record<string, LimitWindow> {
  const windows = Object.entries(found).flatMap(([name, content]) => {
    const parsed = limitWindow.safeParse(content);
    return windowName.test(name) && parsed.success ? [[name, parsed.data] as const] : [];
  });
  return Object.fromEntries(windows.slice(0, mostWindows));
}

/** Undefined if there is no limit or it is unreadable: a limit is only a hint. */
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
