/**
 * Commands by name: the few of them that a profile allows, at the very beginning of a prompt.
 * Always holds: whatever else begins with a slash is text; so is a command that the process does not
 * know as one of the user.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Profile } from '../profiles/profile.ts';
import { turnDetails } from './outcome.ts';
import type { TurnEnd } from './turn.ts';

/** As the CLI reads it: up to the first blank, tab or line break. */
const leading = /^\/([^\s/]+)(?=[ \t\r\n]|$)/;

/** The command that the prompt begins with, if the profile allows it. */
export function allowedCommand(text: string, { commands }: Profile): string | undefined {
  const name = leading.exec(text)?.[1];
  return name !== undefined && commands.includes(name) ? name : undefined;
}

/** For one that is allowed and is not there: the prompt was handed over as text. */
export function unknownCommand(name: string): string {
  return `the command /${name} was not run, and the prompt went to the model as it stands: the .claude repository has no command and no skill of this name`;
}

/**
 * The error that a command is which the CLI has answered by itself: it could not be run, because a
 * shell command in it was denied, for one. Undefined if a model has answered, or a hook was in its way.
 */
export function commandFailure(
  name: string,
  profile: Profile,
  { result, hooks }: TurnEnd,
): BerthError | undefined {
  // A command with `context: fork` runs in a subagent, which has no turns here, but costs.
  const answered = result.numTurns > 0 || result.costUsd > 0;
  if (result.isError || hooks.refused || answered) return undefined;
  return new BerthError(
    'turn_failed',
    `cannot run the command /${name}: ${result.result.slice(0, 500)}; correct it in the .claude repository, or allow the tools that it uses in profiles.${profile.name}.tools.allow`,
    { details: turnDetails(result) },
  );
}
