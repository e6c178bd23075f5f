/**
 * `GET /v1/models` and `GET /v1/models/{id}`: the names that select a profile. Each entry has the fields of Anthropic's
 * and of OpenAI's API, so that the clients of both read it.
 */
import { z } from 'zod';
import { BerthError } from '../../../shared/errors.ts';
import { type ModelEntry, modelsOf, type ProfileSource } from '../../conversations/model-names.ts';

export const modelSchema = z
  .object({
    id: z.string().describe('The name for `model` of a request'),
    type: z.literal('model'),
    object: z.literal('model'),
    display_name: z.string(),
    created_at: z.string(),
    created: z.number().int(),
    owned_by: z.literal('berth'),
  })
  .describe('A name that selects a profile');

export const modelsSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(modelSchema),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.literal(false),
  })
  .describe('All names, in one page');

export const modelIdSchema = z.object({ id: z.string().max(200) });

/** Anthropic's parameters of pages; there is one page. */
export const modelsQuerySchema = z.looseObject({});

export interface ModelParts {
  profiles: ProfileSource;
}

type Model = z.output<typeof modelSchema>;

export function listModels(
  { profiles }: ModelParts,
  { token }: { token: string },
): z.output<typeof modelsSchema> {
  const data = modelsOf(token, profiles).map(toModel);
  const last_id = data.at(-1)?.id ?? null;
  return { object: 'list', data, first_id: data[0]?.id ?? null, last_id, has_more: false };
}

/** @throws BerthError `model_not_found` */
export function showModel(
  { profiles }: ModelParts,
  { token, params }: { token: string; params: z.output<typeof modelIdSchema> },
): Model {
  const entry = modelsOf(token, profiles).find(({ id }) => id === params.id);
  if (entry) return toModel(entry);
  throw new BerthError(
    'model_not_found',
    `cannot show the model ${JSON.stringify(params.id.slice(0, 100))}: there is no profile and no alias of this name; GET /v1/models lists the names`,
  );
}

/** A profile has no time of its creation, and clients sort by it. */
const created = 1_767_225_600;

function toModel({ id, description }: ModelEntry): Model {
  return {
    id,
    type: 'model',
    object: 'model',
    display_name: description.split('\n', 1)[0]?.slice(0, 100) ?? id,
    created_at: new Date(created * 1_000).toISOString(),
    created,
    owned_by: 'berth',
  };
}
