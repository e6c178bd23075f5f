/**
 * Runs the node of examples/n8n-node as n8n does: compiles it, and gives it the functions of an execution. Its requests
 * are real HTTP.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { build } from 'esbuild';

const folder = join(import.meta.dirname, '../../examples/n8n-node');

/** biome-ignore lint/suspicious/noExplicitAny: the node's own types need n8n's packages. */
type Loose = any;

interface Property {
  name: string;
  default: unknown;
}

interface Node {
  description: { properties: Property[]; [name: string]: unknown };
  execute(this: unknown): Promise<{ json: Loose; error?: Loose; pairedItem: unknown }[][]>;
  webhook(
    this: unknown,
  ): Promise<{ workflowData?: { json: Loose }[][]; noWebhookResponse?: boolean }>;
}

export interface Credential {
  name: string;
  test: { request: { baseURL: string; url: string; method?: string } };
  authenticate: { properties: { headers: Record<string, string> } };
}

export interface Execution {
  /** By their names; the others have their defaults. */
  parameters: Record<string, unknown>;
  items?: { json: object; binary?: Record<string, Binary> }[];
  /** Absent: an error stops the workflow. */
  onError?: 'continueRegularOutput' | 'continueErrorOutput';
  streaming?: boolean;
  resumeUrl?: string;
  /** Aborts when a person stops the execution. */
  stop?: AbortSignal;
  /** The body of a call that continues the execution. */
  body?: unknown;
}

export interface Binary {
  fileName?: string;
  mimeType: string;
  content: Buffer;
}

interface RequestOptions {
  method: string;
  url: string;
  qs?: Record<string, unknown>;
  body?: unknown;
  headers?: Record<string, string>;
  encoding?: 'stream';
  abortSignal?: AbortSignal;
}

type Output = Awaited<ReturnType<Node['execute']>>;

/** Runs the node as n8n does, which replaces the JSON of items that have `error`. */
export async function runNode(node: Node, context: unknown): Promise<Output> {
  const output = await node.execute.call(context);
  for (const item of output.flat()) {
    if (item.error !== undefined) item.json = { error: item.error.message };
  }
  return output;
}

/** Compiles the node and its credential. */
export async function loadNode(): Promise<{ node: Node; credential: Credential }> {
  const { Berth } = await load('nodes/Berth/Berth.node.ts');
  const { BerthApi } = await load('credentials/BerthApi.credentials.ts');
  return { node: new Berth(), credential: new BerthApi() };
}

async function load(path: string): Promise<Loose> {
  const { outputFiles } = await build({
    entryPoints: [join(folder, path)],
    alias: { 'n8n-workflow': join(import.meta.dirname, 'n8n-workflow.ts') },
    ...{ bundle: true, write: false, platform: 'node', format: 'esm' },
  });
  return import(`data:text/javascript,${encodeURIComponent(outputFiles[0]?.text ?? '')}`);
}

/** The functions of n8n that the node uses, and what the node did with them. */
export function executionOf(node: Node, berth: { url: string; token: string }, given: Execution) {
  const items = given.items ?? [{ json: {} }];
  const chunks: unknown[] = [];
  const waits: Date[] = [];
  /** What the node itself has answered to a call. */
  const answers: { status: number; body: object }[] = [];
  const defaults = new Map(node.description.properties.map((each) => [each.name, each.default]));
  const context = {
    getInputData: () => items,
    getNodeParameter: (name: string, _item: number, fallback?: unknown) =>
      given.parameters[name] ?? fallback ?? defaults.get(name),
    getCredentials: async () => berth,
    getNode: () => ({ id: 'node-1', name: 'Berth', onError: given.onError }),
    getExecutionId: () => '7',
    getTimezone: () => 'Europe/Berlin',
    evaluateExpression: () => 0,
    continueOnFail: () => given.onError !== undefined,
    isStreaming: () => given.streaming ?? false,
    getExecutionCancelSignal: () => given.stop,
    sendChunk: (...chunk: unknown[]) => chunks.push(chunk),
    getSignedResumeUrl: () => given.resumeUrl,
    putExecutionToWait: async (until: Date) => void waits.push(until),
    getBodyData: () => given.body,
    getResponseObject: () => ({
      status: (status: number) => ({
        json: (body: object) => void answers.push({ status, body }),
      }),
    }),
    helpers: {
      assertBinaryData: (item: number, field: string) => binaryOf(items, item, field),
      getBinaryDataBuffer: async (item: number, field: string) =>
        binaryOf(items, item, field).content,
      httpRequestWithAuthentication: (_type: string, options: RequestOptions) =>
        request(options, berth.token),
    },
  };
  return { context, chunks, waits, answers };
}

function binaryOf(items: NonNullable<Execution['items']>, item: number, field: string): Binary {
  const found = items[item]?.binary?.[field];
  if (!found) throw new Error(`This operation expects the node's input data to contain ${field}`);
  return found;
}

/** As n8n sends it with `returnFullResponse` and `ignoreHttpStatusErrors`. */
async function request(options: RequestOptions, token: string): Promise<Loose> {
  const url = new URL(options.url);
  for (const [name, value] of Object.entries(options.qs ?? {})) {
    url.searchParams.set(name, String(value));
  }
  const { body: given } = options;
  const isJson = given !== undefined && !(given instanceof FormData);
  const response = await fetch(url, {
    method: options.method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(isJson ? { 'content-type': 'application/json' } : {}),
      ...options.headers,
    },
    body: isJson ? JSON.stringify(given) : (given ?? null),
    signal: options.abortSignal ?? null,
  });
  const { status: statusCode, headers, body } = response;
  if (options.encoding === 'stream') {
    return {
      statusCode,
      headers,
      body: body ? Readable.fromWeb(body as Loose) : Readable.from([]),
    };
  }
  return { statusCode, headers, body: await response.text() };
}
