/**
 * Calls berth's API with the credential of the node.
 * Invariant: an error of berth becomes a NodeApiError with the cause as its message, and the remedy as its description.
 */
import type {
  IDataObject,
  IExecuteFunctions,
  IHttpRequestOptions,
  IN8nHttpFullResponse,
  IWebhookFunctions,
  JsonObject,
} from 'n8n-workflow';
import { NodeApiError, NodeOperationError } from 'n8n-workflow';

export type Context = IExecuteFunctions | IWebhookFunctions;

export interface Call {
  method?: 'GET' | 'POST' | 'DELETE';
  path: string;
  query?: IDataObject;
  body?: IDataObject | FormData;
  headers?: IDataObject;
  itemIndex?: number;
}

export type ByteStream = AsyncIterable<Uint8Array>;

/** berth bounds each prompt itself, so the node waits longer than any of them. */
const patience = 24 * 3_600_000;

/** The JSON of the answer; an empty object for an answer without a body. */
export async function call(context: Context, request: Call): Promise<IDataObject> {
  const { statusCode, body } = await send(context, request, {});
  const json = jsonOf(body);
  // With a heartbeat the status is sent before berth knows the outcome.
  if (statusCode >= 400 || isProblem(json)) throw errorOf(context, json, statusCode, request);
  return json;
}

/** The stream of the answer. */
export async function openStream(context: Context, request: Call): Promise<ByteStream> {
  const headers = { ...request.headers, accept: 'text/event-stream' };
  const { statusCode, body } = await send(context, { ...request, headers }, { encoding: 'stream' });
  const stream = body as unknown as ByteStream;
  if (statusCode < 400) return stream;
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  throw errorOf(context, jsonOf(Buffer.concat(chunks).toString()), statusCode, request);
}

/** The error that n8n shows for a problem of berth. */
export function errorOf(
  context: Context,
  problem: IDataObject,
  status: number,
  { itemIndex }: Pick<Call, 'itemIndex'>,
): NodeApiError {
  const { title, code, retryable, retry_after } = problem;
  const detail = String(problem.detail ?? title ?? `berth answered with the status ${status}`);
  const [, cause = detail, remedy = ''] = /^(.*); ([^;]*)$/s.exec(detail) ?? [];
  const facts = [
    remedy === '' ? '' : `Remedy: ${remedy}.`,
    code === undefined ? '' : `Code: ${String(code)}.`,
    retryable === true ? 'The same request can succeed later.' : '',
    retry_after === undefined ? '' : `Wait ${String(retry_after)} seconds.`,
  ];
  const error = new NodeApiError(context.getNode(), problem as JsonObject, {
    message: cause,
    description: facts.filter((fact) => fact !== '').join(' '),
    httpCode: String(problem.status ?? status),
    itemIndex,
  });
  problems.set(error, problem);
  return error;
}

/** The problems of the errors that `errorOf` has made. */
const problems = new WeakMap<Error, IDataObject>();

/** The JSON of an item whose operation has failed, for a workflow that continues. */
export function failureOf(error: Error & { description?: string | null }): IDataObject {
  const problem: IDataObject = problems.get(error) ?? {};
  const { code, retryable, retry_after } = problem;
  return { error: error.message, description: error.description, code, retryable, retry_after };
}

/** The error as n8n shows it: those of berth as they are. */
export function nodeErrorOf(context: Context, error: Error, itemIndex: number): Error {
  if (error instanceof NodeApiError || error instanceof NodeOperationError) return error;
  return new NodeOperationError(context.getNode(), error, { itemIndex });
}

export function isProblem(json: IDataObject): boolean {
  return typeof json.code === 'string' && typeof json.detail === 'string' && 'status' in json;
}

async function send(
  context: Context,
  { method = 'GET', path, query, body, headers, itemIndex }: Call,
  options: Partial<IHttpRequestOptions>,
): Promise<IN8nHttpFullResponse> {
  const { url } = await context.getCredentials<{ url: string }>('berthApi', itemIndex);
  const request: IHttpRequestOptions = {
    method,
    url: `${url.replace(/\/+$/, '')}${path}`,
    json: true,
    returnFullResponse: true,
    ignoreHttpStatusErrors: true,
    timeout: patience,
    ...stopOf(context),
    ...(query ? { qs: query } : {}),
    // n8n's type knows only the forms of a library; its HTTP client sends those of Node too.
    ...(body ? { body: body as IDataObject } : {}),
    ...(headers ? { headers } : {}),
    ...options,
  };
  try {
    return (await context.helpers.httpRequestWithAuthentication.call(
      context,
      'berthApi',
      request,
    )) as IN8nHttpFullResponse;
  } catch (error) {
    throw new NodeApiError(context.getNode(), error as JsonObject, {
      message: `cannot reach berth at ${url}: ${(error as Error).message}`,
      description:
        'Remedy: check the URL of the credential, and that n8n may connect to berth (a NetworkPolicy can forbid it).',
      itemIndex,
    });
  }
}

/** "Stop" in n8n closes the connection, and berth then interrupts the turn. Older versions of n8n have no such signal. */
function stopOf(context: Context): Pick<IHttpRequestOptions, 'abortSignal'> {
  if (!('getExecutionCancelSignal' in context)) return {};
  const abortSignal = context.getExecutionCancelSignal();
  return abortSignal ? { abortSignal } : {};
}

function jsonOf(body: unknown): IDataObject {
  if (typeof body === 'object' && body !== null && !Buffer.isBuffer(body)) {
    return body as IDataObject;
  }
  const text = String(body ?? '').trim();
  if (text === '') return {};
  try {
    return JSON.parse(text) as IDataObject;
  } catch {
    // A proxy between n8n and berth may answer with a page.
    return { detail: `the answer is not of berth: ${text.slice(0, 200)}` };
  }
}
