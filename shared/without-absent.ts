/** Removes the fields of an object that are undefined, so that a spread of the object overwrites nothing with them. */
export function withoutAbsent<T extends object>(
  fields: T,
): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as never;
}
