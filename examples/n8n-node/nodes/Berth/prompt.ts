/** Makes the body of a prompt or a job from the parameters of the node, with the binary input as attachments. */
import { createHash } from 'node:crypto';
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

/** Parameters of "Options", by the name of their field in berth's API. */
const texts = {
  profile: 'profile',
  model: 'model',
  appendSystemPrompt: 'append_system_prompt',
  timeout: 'timeout',
  onLimit: 'on_limit',
  onRecycle: 'on_recycle',
  notBefore: 'not_before',
  delay: 'delay',
  expiresIn: 'expires_in',
  priority: 'priority',
  maxTurns: 'max_turns',
  maxBudgetUsd: 'max_budget_usd',
  maxAttempts: 'max_attempts',
} as const;

export async function bodyOf(context: IExecuteFunctions, i: number): Promise<IDataObject> {
  const options = context.getNodeParameter('options', i, {}) as IDataObject;
  const sessionId = String(context.getNodeParameter('sessionId', i, '') ?? '').trim();
  const body: IDataObject = { prompt: context.getNodeParameter('prompt', i) as string };
  if (sessionId !== '') body.session_id = sessionId;
  if (options.fork === true) body.fork = true;
  for (const [name, field] of Object.entries(texts)) {
    const value = options[name];
    if (value !== undefined && value !== '') body[field] = value;
  }
  if (options.restrictTools === true || options.allowedTools) {
    body.allowed_tools = listOf(options.allowedTools);
  }
  if (options.outputSchema) body.output_schema = objectOf(context, options, 'outputSchema', i);
  if (options.metadata) body.metadata = objectOf(context, options, 'metadata', i);
  const attachments = await attachmentsOf(context, listOf(options.attachments), i);
  if (attachments.length > 0) body.attachments = attachments;
  return body;
}

/**
 * The same execution, node, run, item and body get the same answer: a retry pays for no second prompt.
 * Two prompts of one item differ in their bodies.
 */
export function keyOf(context: IExecuteFunctions, i: number, body: IDataObject): string {
  const { idempotencyKey } = context.getNodeParameter('options', i, {}) as IDataObject;
  if (typeof idempotencyKey === 'string' && idempotencyKey !== '') return idempotencyKey;
  const run = context.evaluateExpression('{{ $runIndex }}', i) ?? 0;
  const digest = createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 16);
  return [context.getExecutionId(), context.getNode().id, run, i, digest].join(':');
}

export function listOf(value: unknown): string[] {
  return String(value ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

async function attachmentsOf(
  context: IExecuteFunctions,
  wanted: readonly string[],
  i: number,
): Promise<IDataObject[]> {
  const binary = context.getInputData()[i]?.binary ?? {};
  const fields = wanted.includes('*') ? Object.keys(binary) : wanted;
  return Promise.all(
    fields.map(async (field) => {
      const { fileName, mimeType } = context.helpers.assertBinaryData(i, field);
      const content = await context.helpers.getBinaryDataBuffer(i, field);
      return { name: fileName ?? field, media_type: mimeType, data: content.toString('base64') };
    }),
  );
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
