/** Makes the body of a prompt or a job from the parameters of the node, with the binary input as attachments. */
import { createHash } from 'node:crypto';
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';
import { type Attachment, attachmentsOf, formOf } from './attachments';

export interface Prompt {
  /** Fields of berth's API. */
  fields: IDataObject;
  attachments: Attachment[];
}

/** Parameters of "Options", by the name of their field in berth's API. */
const texts = {
  profile: 'profile',
  model: 'model',
  appendSystemPrompt: 'append_system_prompt',
  timeout: 'timeout',
  onLimit: 'on_limit',
  onRecycle: 'on_recycle',
  delay: 'delay',
  expiresIn: 'expires_in',
  priority: 'priority',
  maxTurns: 'max_turns',
  maxBudgetUsd: 'max_budget_usd',
  maxAttempts: 'max_attempts',
} as const;

export async function promptOf(context: IExecuteFunctions, i: number): Promise<Prompt> {
  const options = context.getNodeParameter('options', i, {}) as IDataObject;
  const sessionId = String(context.getNodeParameter('sessionId', i, '') ?? '').trim();
  const fields: IDataObject = { prompt: context.getNodeParameter('prompt', i) as string };
  if (sessionId !== '') fields.session_id = sessionId;
  if (options.fork === true) fields.fork = true;
  for (const [name, field] of Object.entries(texts)) {
    const value = options[name];
    if (value !== undefined && value !== '') fields[field] = value;
  }
  if (options.notBefore) {
    fields.not_before = withZone(String(options.notBefore), context.getTimezone());
  }
  if (options.restrictTools === true || options.allowedTools) {
    fields.allowed_tools = listOf(options.allowedTools);
  }
  if (options.outputSchema) fields.output_schema = objectOf(context, options, 'outputSchema', i);
  if (options.metadata) fields.metadata = objectOf(context, options, 'metadata', i);
  const attachments = await attachmentsOf(context, listOf(options.attachments), i);
  return { fields, attachments };
}

/** JSON, or a form if there are files. @param more further fields */
export function bodyOf(
  { fields, attachments }: Prompt,
  more: IDataObject = {},
): IDataObject | FormData {
  const all = { ...fields, ...more };
  return attachments.length > 0 ? formOf(all, attachments) : all;
}

/**
 * The same execution, node, run, item and prompt get the same answer: a retry pays for no second prompt.
 * Two prompts of one item differ in their fields or their files.
 */
export function keyOf(context: IExecuteFunctions, i: number, prompt: Prompt): string {
  const { idempotencyKey } = context.getNodeParameter('options', i, {}) as IDataObject;
  if (typeof idempotencyKey === 'string' && idempotencyKey !== '') return idempotencyKey;
  const run = context.evaluateExpression('{{ $runIndex }}', i) ?? 0;
  const files = prompt.attachments.map(({ name, mediaType, digest }) => [name, mediaType, digest]);
  const text = JSON.stringify(files.length > 0 ? [prompt.fields, files] : prompt.fields);
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return [context.getExecutionId(), context.getNode().id, run, i, digest].join(':');
}

/** The date picker of n8n gives a time without a zone: it is in the zone of the workflow. */
function withZone(time: string, timeZone: string): string {
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(time)) return time;
  const asUtc = Date.parse(`${time.replace(' ', 'T')}Z`);
  if (Number.isNaN(asUtc)) return time;
  // Sweden writes times as ISO 8601 does.
  const offsetAt = (instant: number): number =>
    Date.parse(`${new Date(instant).toLocaleString('sv-SE', { timeZone }).replace(' ', 'T')}Z`) -
    Math.floor(instant / 1_000) * 1_000;
  // Near a change of the clocks the first offset may be that of the other side.
  return new Date(asUtc - offsetAt(asUtc - offsetAt(asUtc))).toISOString();
}

export function listOf(value: unknown): string[] {
  return String(value ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

function objectOf(
  context: IExecuteFunctions,
  options: IDataObject,
  name: string,
  i: number,
): IDataObject {
  const value = options[name];
  if (typeof value === 'object' && value !== null) return value as IDataObject;
  try {
    const parsed: unknown = JSON.parse(String(value));
    if (typeof parsed === 'object' && parsed !== null) return parsed as IDataObject;
  } catch {
    // The error below says what is wrong.
  }
  throw new NodeOperationError(
    context.getNode(),
    `cannot use the option ${name}: it is no JSON object`,
    {
      itemIndex: i,
      description: 'Remedy: write a JSON object, or an expression that returns an object.',
    },
  );
}
