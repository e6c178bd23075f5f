/** Makes untrusted text, such as file names, safe for a terminal. */

/**
 * Characters that a terminal interprets instead of showing: control characters, and changes of the
 * text direction.
 */
const control = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * The text with escapes such as `\u001b` instead of these characters. In JSON the meaning stays the
 * same.
 */
export function printable(text: string): string {
  return text.replace(control, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
