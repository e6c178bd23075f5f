/** Fields that mean the same in several of the APIs for other clients. */
import { asObject } from './content.ts';
import type { FieldRule } from './field-rules.ts';
import { checkKeys, type KeyRules } from './part-keys.ts';

const tools: FieldRule = {
  why: 'the CLI runs its own tools, those that the profile allows, and cannot call tools of the client',
  unless: [[]],
};

export const refusedTools: Readonly<Record<string, FieldRule>> = {
  tools,
  tool_choice: { ...tools, unless: ['auto', 'none', { type: 'auto' }, { type: 'none' }] },
};

const sampling = 'the CLI does not let a request set it, so it has no effect';

export const warnedSampling: Readonly<Record<string, FieldRule>> = {
  temperature: { why: sampling, unless: [1] },
  top_p: { why: sampling, unless: [1] },
};

export const notEnforced: FieldRule = {
  why: 'it is not enforced; limits.max_turns and limits.max_budget_usd of the profile bound an answer',
};

export const effort: FieldRule = {
  why: 'the CLI decides how much the model thinks, so it has no effect',
};

export const serviceTier: FieldRule = {
  why: 'it has no effect here',
  unless: ['auto', 'default', 'standard', 'standard_only'],
};

/** A request for so few tokens only tests the connection. */
export const probeTokens = 1;

/** Of OpenAI's APIs. A stream of Responses has its usage in any case. */
export const streamOptionKeys: KeyRules = {
  accepted: ['include_usage'],
  warned: { include_obfuscation: { why: 'the stream is not padded', unless: [false] } },
};

/**
 * @returns the warnings
 * @throws BerthError `invalid_request`
 */
export function checkStreamOptions(options: unknown): string[] {
  if (options === undefined || options === null) return [];
  return checkKeys(asObject(options, 'stream_options'), 'stream_options', streamOptionKeys);
}
