/** Everything that can be said against a set of manifests that shall be applied together. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Manifest, manifestsDirectory, parse, podsOf } from '../manifests.ts';
import { defaultProblems } from './defaults.ts';
import { networkProblems } from './network.ts';
import { podSecurityProblems } from './pod-security.ts';
import { referenceProblems } from './references.ts';
import { schemaProblems } from './schemas.ts';
import { settingProblems } from './settings.ts';

export interface Level {
  podSecurity: 'baseline' | 'restricted';
}

/** The Secrets that people make, as the example has them. */
export function exampleSecrets(): Manifest[] {
  return parse(readExample('secrets/secrets.yaml'));
}

function readExample(path: string): string {
  return readFileSync(join(manifestsDirectory, 'examples', path), 'utf8');
}

/** The problems of each set; several at once, for the schemas take a compiler. */
export async function problemsOf(
  sets: readonly (readonly Manifest[])[],
  { podSecurity }: Level = { podSecurity: 'restricted' },
): Promise<string[][]> {
  const schemas = await schemaProblems(sets);
  const secrets = [...exampleSecrets(), ...parse(readExample('secrets/redis.yaml'))];
  return sets.map((manifests, index) => [
    ...(schemas[index] ?? []),
    ...podsOf(manifests).flatMap(({ spec }) => podSecurityProblems(spec, podSecurity)),
    ...referenceProblems(manifests, secrets),
    ...settingProblems(manifests),
    ...networkProblems(manifests),
    ...defaultProblems(manifests),
  ]);
}
