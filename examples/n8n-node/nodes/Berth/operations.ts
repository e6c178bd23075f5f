/** What each operation of the node does for one item. */
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';
import { NodeOperationError, WAIT_INDEFINITELY } from 'n8n-workflow';
import { bodyOf, keyOf, type Prompt, promptOf } from './prompt';
import { call, errorOf, isProblem, openStream } from './request';
import { metadataOfWaiter, resumeUrl } from './resume';
import { readStream } from './stream';

/** One item may become several. */
type Operation = (context: IExecuteFunctions, i: number) => Promise<IDataObject | IDataObject[]>;

const pageSize = 200;

/** An id, as a part of a path. Without an id the path would be that of the list. */
function idOf(context: IExecuteFunctions, name: string, i: number): string {
  const id = String(context.getNodeParameter(name, i) ?? '').trim();
  if (id !== '') return encodeURIComponent(id);
  throw new NodeOperationError(context.getNode(), `cannot use the field ${name}: it is empty`, {
    itemIndex: i,
    description: 'Remedy: check that the expression of the field has a value for this item.',
  });
}

const ask: Operation = async (context, i) => {
  const prompt = await promptOf(context, i);
  const headers = { 'idempotency-key': keyOf(context, i, prompt) };
  // White space before the JSON keeps proxies and n8n from ending a connection that is silent.
  const body = bodyOf(prompt, { heartbeat: '30s' });
  return call(context, { method: 'POST', path: '/v1/prompts', body, headers, itemIndex: i });
};

const askStream: Operation = async (context, i) => {
  const prompt = await promptOf(context, i);
  const headers = { 'idempotency-key': keyOf(context, i, prompt) };
  const body = bodyOf(prompt);
  const request = { method: 'POST', path: '/v1/prompts', body, headers, itemIndex: i } as const;
  const stream = await openStream(context, request);
  const streams = context.isStreaming?.() === true;
  if (streams) context.sendChunk('begin', i);
  let said = '';
  const { event, data } = await readStream(stream, (piece) => {
    said += piece;
    if (streams) context.sendChunk('item', i, piece);
  }).finally(() => {
    if (streams) context.sendChunk('end', i);
  });
  if (event === 'error' && isProblem(data)) throw errorOf(context, data, 500, { itemIndex: i });
  if (event === 'result') {
    // A repeated answer comes whole, without its pieces.
    return { text: said === '' ? data.result : said, ...data };
  }
  throw new NodeOperationError(context.getNode(), 'the answer was cut off before its end', {
    itemIndex: i,
    description: 'Remedy: use the operation Start and Wait of the resource Job for long work.',
  });
};

const start: Operation = async (context, i) => startJob(context, i, await promptOf(context, i));

const startAndWait: Operation = async (context, i) => {
  if (context.getInputData().length > 1) {
    throw new NodeOperationError(
      context.getNode(),
      'cannot wait for several jobs: an execution waits for one call at a time',
      {
        itemIndex: i,
        description:
          'Remedy: put the node Loop Over Items before this node, or use Start and Get instead.',
      },
    );
  }
  const hours = Number(context.getNodeParameter('limitWaitHours', i, 24));
  const prompt = await promptOf(context, i);
  prompt.fields.callback_url = resumeUrl(context, i);
  const metadata = prompt.fields.metadata as IDataObject | undefined;
  prompt.fields.metadata = { ...metadata, ...metadataOfWaiter(context) };
  const job = await startJob(context, i, prompt);
  // When the limit is over, n8n skips this node and passes on its input, which n8n stores as it is now.
  const item = context.getInputData()[i];
  if (item) item.json = job;
  const until = hours > 0 ? new Date(Date.now() + hours * 3_600_000) : WAIT_INDEFINITELY;
  await context.putExecutionToWait(until);
  return job;
};

const getJob: Operation = (context, i) => {
  const seconds = Number(context.getNodeParameter('waitSeconds', i, 0));
  const query = seconds > 0 ? { wait: `${seconds}s` } : {};
  return call(context, { path: `/v1/jobs/${idOf(context, 'jobId', i)}`, query, itemIndex: i });
};

const cancelJob: Operation = (context, i) => {
  const path = `/v1/jobs/${idOf(context, 'jobId', i)}/cancel`;
  return call(context, { method: 'POST', path, itemIndex: i });
};

const getSession: Operation = (context, i) =>
  call(context, { path: `/v1/sessions/${idOf(context, 'id', i)}`, itemIndex: i });

const deleteSession: Operation = async (context, i) => {
  const path = `/v1/sessions/${idOf(context, 'id', i)}`;
  await call(context, { method: 'DELETE', path, itemIndex: i });
  return { deleted: true };
};

const interruptSession: Operation = (context, i) => {
  const path = `/v1/sessions/${idOf(context, 'id', i)}/interrupt`;
  return call(context, { method: 'POST', path, itemIndex: i });
};

export const operations: Record<string, Record<string, Operation>> = {
  prompt: { ask, askStream },
  job: { start, startAndWait, get: getJob, getAll: listOf('jobs'), cancel: cancelJob },
  session: {
    get: getSession,
    getAll: listOf('sessions'),
    delete: deleteSession,
    interrupt: interruptSession,
  },
};

function listOf(name: 'jobs' | 'sessions'): Operation {
  return async (context, i) => {
    const all = context.getNodeParameter('returnAll', i) as boolean;
    const most = all ? Infinity : Number(context.getNodeParameter('limit', i));
    const { profile, state } = context.getNodeParameter('filters', i, {}) as IDataObject;
    const filters = {
      ...(profile ? { profile } : {}),
      ...(name === 'jobs' && Array.isArray(state) && state.length > 0
        ? { state: state.join(',') }
        : {}),
    };
    const found: IDataObject[] = [];
    let cursor: unknown;
    do {
      const limit = Math.min(pageSize, most - found.length);
      const query = { ...filters, limit, ...(cursor ? { cursor: String(cursor) } : {}) };
      const page = await call(context, { path: `/v1/${name}`, query, itemIndex: i });
      found.push(...(page[name] as IDataObject[]));
      cursor = page.next;
    } while (cursor && found.length < most);
    return found;
  };
}

function startJob(context: IExecuteFunctions, i: number, prompt: Prompt): Promise<IDataObject> {
  const headers = { 'idempotency-key': keyOf(context, i, prompt) };
  const body = bodyOf(prompt);
  return call(context, { method: 'POST', path: '/v1/jobs', body, headers, itemIndex: i });
}
