/**
 * The call of berth that ends the wait of "Start and Wait". It continues an execution, and starts none: so there is
 * nothing to register and to remove.
 * Invariants: the job is read again with the credential, because the call itself proves nothing. Only a job that this
 * execution has started at this node, and that has ended, ends the wait. After any other call the execution still waits:
 * an error that the node throws would continue the execution in some versions of n8n.
 */
import type {
  IDataObject,
  IExecuteFunctions,
  IWebhookDescription,
  IWebhookFunctions,
  IWebhookResponseData,
} from 'n8n-workflow';
import { type Context, call } from './request';

export const resumeWebhooks: IWebhookDescription[] = [
  {
    name: 'default',
    httpMethod: 'POST',
    responseMode: 'onReceived',
    path: '={{ $nodeId }}',
    restartWebhook: true,
    isFullPath: true,
  },
];

/** The key in the metadata of a job with the execution and the node that wait for the job. */
const waiter = 'n8n_execution';

const endStates: readonly unknown[] = ['succeeded', 'failed', 'cancelled', 'expired'];

/** The metadata of a job for which this node waits. */
export function metadataOfWaiter(context: Context): IDataObject {
  return { [waiter]: `${context.getExecutionId()}:${context.getNode().id}` };
}

/** Answers a call of the resume URL. A call that is answered with 503 comes again. */
export async function resume(context: IWebhookFunctions): Promise<IWebhookResponseData> {
  let job: IDataObject;
  try {
    // Anybody may call: the body can be anything.
    const { id } = (context.getBodyData().data ?? {}) as IDataObject;
    job = await call(context, { path: `/v1/jobs/${encodeURIComponent(String(id))}` });
  } catch {
    return refuse(context, 503, 'the job cannot be read');
  }
  const { [waiter]: owner } = (job.metadata ?? {}) as IDataObject;
  if (owner !== metadataOfWaiter(context)[waiter]) {
    return refuse(context, 403, 'this execution does not wait for this job');
  }
  if (!endStates.includes(job.state)) return refuse(context, 503, 'the job has not ended');
  return { workflowData: [[{ json: job }]] };
}

/** Without `workflowData`, n8n does not continue the execution. */
function refuse(context: IWebhookFunctions, status: number, message: string): IWebhookResponseData {
  context.getResponseObject().status(status).json({ message });
  return { noWebhookResponse: true };
}

/** The URL that continues this execution at this node. Newer versions of n8n sign it. */
export function resumeUrl(context: IExecuteFunctions, i: number): string {
  if (typeof context.getSignedResumeUrl === 'function') return context.getSignedResumeUrl();
  const url = new URL(String(context.evaluateExpression('{{ $execution.resumeUrl }}', i)));
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${context.getNode().id}`;
  return url.toString();
}
