/**
 * What the API server writes back otherwise than it was applied. `kubectl apply` compares field by
 * field, but some lists as a whole: where a default is left out in one of those, or a quantity is
 * written in another form, each apply says "configured" and nothing has changed.
 */
import type { Manifest } from '../manifests.ts';

/** By the path of an element without indexes: fields that the API server fills in. */
const filledIn: [path: RegExp, field: string, value: string][] = [
  [/\bdownwardAPI\.items\.fieldRef$/, 'apiVersion', 'v1'],
  [/\bdownwardAPI\.items\.resourceFieldRef$/, 'divisor', '"0"'],
  [/\bprojected\.sources\.serviceAccountToken$/, 'expirationSeconds', '3600'],
  [/^NetworkPolicy\.spec\.(?:in|e)gress\.ports$/, 'protocol', 'TCP'],
  [/^ServiceMonitor\..*\b(?:relabelings|metricRelabelings)$/, 'action', 'replace'],
];

const quantities = /\b(?:requests|limits|sizeLimit)(?:\.(?:cpu|memory|storage))?$/;

export function defaultProblems(manifests: readonly Manifest[]): string[] {
  return manifests.flatMap((manifest) => look(manifest, manifest.kind));
}

function look(value: unknown, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => look(each, path));
  if (typeof value !== 'object' || value === null) return quantityProblems(value, path);
  const missing = filledIn
    .filter(([place, field]) => place.test(path) && !(field in value))
    .map(([, field, given]) => `${path} leaves out ${field}: write the default, ${given}`);
  const below = Object.entries(value).flatMap(([name, each]) => look(each, `${path}.${name}`));
  return [...missing, ...below];
}

function quantityProblems(value: unknown, path: string): string[] {
  if (!quantities.test(path)) return [];
  const [, number = '', unit = ''] = /^([\d.]+)(\w*)$/.exec(String(value)) ?? [];
  const larger = unit === 'm' ? 1_000 : unit.endsWith('i') ? 1_024 : Infinity;
  const canonical = /^\d+$/.test(number) && Number(number) % larger !== 0;
  return canonical ? [] : [`${path} is ${value}, which the API server writes in another form`];
}
