/** The W3C trace context of a request: taken over if it is right, else ignored, as its standard asks. */

const shape = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** The header as it is, if it is valid. Later versions may have more at the end. */
export function validTraceparent(header: unknown): string | undefined {
  if (typeof header !== 'string' || header.length > 512) return undefined;
  const [, version, trace = '', parent = '', , more] = shape.exec(header) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  if (version === '00' && more !== undefined) return undefined;
  return /[^0]/.test(trace) && /[^0]/.test(parent) ? header : undefined;
}

/** The trace id of a valid traceparent, 32 hex digits. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35);
}
