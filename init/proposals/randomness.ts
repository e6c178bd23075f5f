/**
 * Recognises text that looks random, as tokens and keys do, by its entropy.
 * Invariants: words, paths, version numbers and names of code are not random. Ids of git commits and
 * digests (40 or 64 hex digits) and UUIDs are common in notes, and are no secrets.
 */

/** Letters and digits of both cases, with the signs of base64 and of tokens. */
const candidates = /[A-Za-z0-9+/_=-]{20,}/g;
const digest = /^(?:[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;
const hex = /^[0-9a-f]{32,}$/i;

/** Bits for each character. Random hex has 4, random base64 up to 6, less if it is short. */
const least = { hex: 3, run: 3.6, whole: 4.5 } as const;

export function looksRandom(text: string): boolean {
  for (const [word] of text.matchAll(candidates)) {
    if (digest.test(word)) continue;
    if (hex.test(word) && entropy(word) >= least.hex) return true;
    // A path or a name with dashes consists of words: each must be long itself.
    const runs = word.split(/[-_/+=]/).filter((run) => run.length >= 20 && isMixed(run));
    if (runs.some((run) => entropy(run) >= least.run)) return true;
    if (word.length >= 40 && isMixed(word) && entropy(word) >= least.whole) return true;
  }
  return false;
}

/** Whether there are upper and lower case letters and at least two digits. */
function isMixed(text: string): boolean {
  return /[a-z]/.test(text) && /[A-Z]/.test(text) && (text.match(/\d/g)?.length ?? 0) >= 2;
}

/** Shannon's entropy, in bits for each character. */
function entropy(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) {
    const share = count / text.length;
    bits -= share * Math.log2(share);
  }
  return bits;
}
