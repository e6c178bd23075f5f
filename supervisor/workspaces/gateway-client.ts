/**
 * The gateway of init, as the runtime container uses it: the URL of a repository, and pull requests.
 * Invariants: no token is sent, because the gateway adds it. Answers are bounded and checked.
 */
import { z } from 'zod';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';

const sideSchema = z.object({ repository: z.string().optional(), branch: z.string() });
const pullSchema = z.object({
  number: z.number(),
  url: z.string().max(2_000),
  title: z.string().default(''),
  head: sideSchema,
  base: sideSchema,
});
const problemSchema = z.object({
  code: z.string().default(''),
  detail: z.string().default(''),
});

export type PullRequest = z.infer<typeof pullSchema>;

export interface WantedPullRequest {
  /** `owner/name` */
  repository: string;
  /** The pushed branch. */
  head: string;
  title: string;
  body: string;
  base?: string | undefined;
  draft?: boolean | undefined;
}

/** Milliseconds for one answer. */
const patience = 60_000;
const mostBytes = 1024 * 1024;

export class GatewayClient {
  readonly #url: string;

  /** @param url of the gateway, such as `http://127.0.0.1:9418` */
  constructor(url: string) {
    this.#url = url.replace(/\/+$/, '');
  }

  repositoryUrl(repo: string): string {
    return `${this.#url}/${repo}`;
  }

  /**
   * Undefined if the git server has no pull requests that the gateway can read (GitLab, Forgejo).
   * @throws BerthError `workspace_not_found`, `workspace_refused`, `workspace_unavailable`
   */
  async readPullRequest(
    repo: string,
    number: number,
    signal: AbortSignal,
  ): Promise<PullRequest | undefined> {
    const what = `read the pull request ${number} of ${repo}`;
    const { status, body } = await this.#call(what, `/${repo}/pulls/${number}`, {}, signal);
    if (status === 200) return read(what, body);
    const { code, detail } = problemSchema.safeParse(body).data ?? { code: '', detail: '' };
    if (code === 'not_supported') return undefined;
    const found = /\(404\)|does not exist/.test(detail);
    throw refusal(what, status, detail, found ? 'workspace_not_found' : 'workspace_refused');
  }

  /**
   * Opens a pull request, or updates the open one of its branch.
   * @throws BerthError `publish_refused`, `publish_failed`
   */
  async openPullRequest(wanted: WantedPullRequest, signal: AbortSignal): Promise<PullRequest> {
    const what = `open a pull request for ${wanted.head} in ${wanted.repository}`;
    const request = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(wanted),
    };
    const { status, body } = await this.#call(what, '/pull-requests', request, signal).catch(
      (error: unknown) => {
        if (!(error instanceof BerthError) || error.code !== 'workspace_unavailable') throw error;
        throw new BerthError('publish_failed', error.message, { cause: error });
      },
    );
    if (status === 200 || status === 201) return read(what, body);
    const { detail } = problemSchema.safeParse(body).data ?? { detail: '' };
    throw refusal(what, status, detail, 'publish_refused');
  }

  async #call(
    what: string,
    path: string,
    request: RequestInit,
    signal: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    try {
      const response = await fetch(`${this.#url}${path}`, {
        ...request,
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(patience)]),
      });
      return { status: response.status, body: await readJson(response) };
    } catch (error) {
      signal.throwIfAborted();
      throw new BerthError(
        'workspace_unavailable',
        `cannot ${what}: the gateway does not answer (${causeOf(error)}); check that init stays (docs/gateway.md) and BERTH_GATEWAY_URL`,
        { cause: error },
      );
    }
  }
}

/** Undefined if the body is no JSON. @throws Error if it is too long */
async function readJson(response: Response): Promise<unknown> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > mostBytes) throw new Error('its answer is too long');
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function read(what: string, body: unknown): PullRequest {
  const parsed = pullSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new BerthError(
    'workspace_unavailable',
    `cannot ${what}: the answer is not that of a gateway; check BERTH_GATEWAY_URL`,
  );
}

function refusal(
  what: string,
  status: number,
  detail: string,
  refused: 'workspace_not_found' | 'workspace_refused' | 'publish_refused',
): BerthError {
  const passing =
    status >= 500 && !/^cannot .*(permission|does not accept|not GitHub)/.test(detail);
  const failed = refused === 'publish_refused' ? 'publish_failed' : 'workspace_unavailable';
  const text = detail === '' ? `cannot ${what}: the gateway answers with ${status}` : detail;
  return new BerthError(passing ? failed : refused, printable(text).slice(0, 1_000));
}

function causeOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  return messageOf(cause ?? error).slice(0, 200);
}
