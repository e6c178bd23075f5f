/** Converts durations and sizes between human notation and milliseconds or bytes. */

const millisecondsPer = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const bytesPer = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
} as const;

/**
 * Parses `250ms`, `30s`, `5m`, `1h30m`, `7d` to milliseconds; undefined if the text is not a
 * duration.
 */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * millisecondsPer[unit as keyof typeof millisecondsPer];
  }
  return total;
}

/**
 * Parses `512Mi`, `2Gi`, `100M`, `4096` (as Kubernetes does) to bytes; undefined if the text is not
 * a size.
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T|)$/.exec(text);
  if (!match) return undefined;
  return Math.round(Number(match[1]) * bytesPer[match[2] as keyof typeof bytesPer]);
}

/** Milliseconds in the largest unit with a whole or short number: `90s`, `2m`, `1.5h`. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const amount = milliseconds / millisecondsPer[unit];
    if (amount >= 1 && Number.isInteger(amount * 10)) return `${amount}${unit}`;
  }
  return `${Math.round(milliseconds)}ms`;
}

/** Bytes in binary units with at most one decimal: `1.5Gi`, `300Mi`. */
export function formatSize(bytes: number): string {
  for (const unit of ['Ti', 'Gi', 'Mi', 'Ki'] as const) {
    const amount = bytes / bytesPer[unit];
    if (amount >= 1) return `${Math.round(amount * 10) / 10}${unit}`;
  }
  return `${bytes}`;
}
