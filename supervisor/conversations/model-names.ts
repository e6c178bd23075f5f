/**
 * The names of models in the APIs for other clients: `berth/<profile>`, `berth` for the default profile, the aliases of
 * the profiles file, and Claude's own models where the default profile lets a request select one.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Profile } from '../profiles/profile.ts';

export interface ProfileSource {
  all: () => readonly Profile[];
  /** @throws BerthError `profile_not_found` */
  forToken: (token: string, requested: string | undefined) => Profile;
}

export interface ChosenModel {
  profile: Profile;
  /** The model that the request selects; undefined: that of the profile. */
  model: string | undefined;
}

export interface ModelEntry {
  id: string;
  description: string;
}

const prefix = 'berth/';
/** `claude-sonnet-5-5`, and the aliases of the CLI. */
const ofClaude = /^(claude-[\w.@[\]-]+|opus|sonnet|haiku)$/;

/** @throws BerthError `model_not_found`, `profile_not_found` */
export function chooseModel(name: string, token: string, profiles: ProfileSource): ChosenModel {
  if (name === 'berth') return { profile: profiles.forToken(token, undefined), model: undefined };
  if (name.startsWith(prefix)) {
    return { profile: profiles.forToken(token, name.slice(prefix.length)), model: undefined };
  }
  const named = usable(token, profiles).find(({ aliases }) => aliases.includes(name));
  if (named) return { profile: named, model: undefined };
  if (ofClaude.test(name)) {
    const profile = profiles.forToken(token, undefined);
    return { profile, model: profile.model === name ? undefined : name };
  }
  throw new BerthError(
    'model_not_found',
    `cannot use the model ${JSON.stringify(name.slice(0, 100))}: there is no profile and no alias of this name; use one of GET /v1/models, or add it to the aliases of a profile`,
    { details: { field: 'model' } },
  );
}

/** The names that the token can use, the default profile first. */
export function modelsOf(token: string, profiles: ProfileSource): ModelEntry[] {
  const all = usable(token, profiles);
  const usual = defaultOf(token, profiles);
  const entry = ({ name, description }: Profile, id: string): ModelEntry => ({
    id,
    description: description ?? `Claude Code with the profile ${name}`,
  });
  return [
    ...(usual ? [entry(usual, 'berth')] : []),
    ...all.map((profile) => entry(profile, prefix + profile.name)),
    ...all.flatMap((profile) => profile.aliases.map((alias) => entry(profile, alias))),
  ];
}

function usable(token: string, profiles: ProfileSource): Profile[] {
  return profiles.all().filter(({ tokens }) => tokens?.includes(token) ?? true);
}

function defaultOf(token: string, profiles: ProfileSource): Profile | undefined {
  try {
    return profiles.forToken(token, undefined);
  } catch {
    return undefined;
  }
}
