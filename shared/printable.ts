/** Text of strangers, such as names of files, where a terminal will show it. */

/** What a terminal obeys instead of showing it: control characters, and what turns lines about. */
const control = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/** The text with `\u001b` in the place of such a character. Within JSON it means the same as before. */
export function printable(text: string): string {
  return text.replace(control, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
