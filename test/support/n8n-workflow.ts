/** A stand-in for the values of the package n8n-workflow that the n8n node uses; n8n itself is too large for the quick tests. */

interface ErrorOptions {
  message?: string;
  description?: string;
  httpCode?: string;
  itemIndex?: number;
}

class NodeError extends Error {
  readonly node: unknown;
  readonly description: string | undefined;
  readonly itemIndex: number | undefined;

  constructor(node: unknown, message: string, { description, itemIndex }: ErrorOptions) {
    super(message);
    this.node = node;
    this.description = description;
    this.itemIndex = itemIndex;
  }
}

export class NodeApiError extends NodeError {
  readonly httpCode: string | null;

  constructor(node: unknown, response: { message?: string }, options: ErrorOptions = {}) {
    super(node, options.message ?? response.message ?? 'UNKNOWN ERROR', options);
    this.httpCode = options.httpCode ?? null;
  }
}

export class NodeOperationError extends NodeError {
  constructor(node: unknown, error: Error | string, options: ErrorOptions = {}) {
    super(node, typeof error === 'string' ? error : error.message, options);
  }
}

export const NodeConnectionTypes = { Main: 'main' } as const;

export const WAIT_INDEFINITELY = new Date('3000-01-01T00:00:00.000Z');
