/**
 * Checks whether the container has enough memory for berth, and names the setting to change if not.
 */
import { BerthError } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';
import { type BoundSettings, highestShare } from './reading.ts';

/**
 * The least hard bound: the supervisor and one worker take 165 to 200 MiB of working set
 * (docs/memory.md), and no worker can stay above the hard bound.
 */
const leastHardBound = 256 * 2 ** 20;

type HardSetting = BoundSettings['containerHard'];

/**
 * @param hard the hard bound in bytes that follows from the setting and the limit
 * @throws BerthError `config_invalid`
 */
export function refuseTooSmall(limit: number, hard: number, setting: HardSetting): void {
  if (hard >= leastHardBound) return;
  throw new BerthError(
    'config_invalid',
    `cannot serve within ${formatSize(limit)} of memory: the hard bound (BERTH_MEMORY_HARD) is ${formatSize(hard)}, and berth with one worker needs ${formatSize(leastHardBound)}; ${remedyOf(limit, setting)}, or see docs/memory.md`,
  );
}

/** The limit, or the bound, with which one worker would fit. */
function remedyOf(limit: number, setting: HardSetting): string {
  const whole = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)}Mi`;
  const share = Math.min(highestShare, 'share' in setting ? setting.share : 1);
  const enough = `set resources.limits.memory to ${whole(leastHardBound / share)} or more`;
  if ('share' in setting || setting.bytes >= leastHardBound) return enough;
  const raise = `set BERTH_MEMORY_HARD to ${whole(leastHardBound)} or more`;
  return limit * highestShare >= leastHardBound ? raise : `${raise} and ${enough.slice(4)}`;
}
