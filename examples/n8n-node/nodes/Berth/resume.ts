/**
 * The call of berth that ends the wait of "Start and Wait". It continues an execution, and starts none: so there is
 * nothing to register and to remove.
 */
import type { IExecuteFunctions, IWebhookDescription } from 'n8n-workflow';

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

/** The URL that continues this execution at this node. Newer versions of n8n sign it. */
export function resumeUrl(context: IExecuteFunctions, i: number): string {
  if (typeof context.getSignedResumeUrl === 'function') return context.getSignedResumeUrl();
  const url = new URL(String(context.evaluateExpression('{{ $execution.resumeUrl }}', i)));
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${context.getNode().id}`;
  return url.toString();
}
