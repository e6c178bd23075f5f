/**
 * The results of jobs as MCP resources: `berth://jobs/{job_id}/result`.
 * Invariant: a resource of a job of another token does not exist for the caller.
 */
import {
  type McpServer,
  ResourceNotFoundError,
  ResourceTemplate,
} from '@modelcontextprotocol/server';
import { BerthError } from '../../../shared/errors.ts';
import { isEnd, type Job } from '../../jobs/job.ts';
import { jobIdSchema } from '../job-schema.ts';
import type { McpParts } from './tool.ts';

/** Results of a list at most: the newest. */
const mostListed = 50;

export function resultUri(jobId: string): string {
  return `berth://jobs/${jobId}/result`;
}

export function registerResults(server: McpServer, { jobs }: McpParts, token: string): void {
  const list = async () => {
    const page = await jobs.list({ token, states: ['succeeded'], limit: mostListed });
    return { resources: page.jobs.map(resourceOf) };
  };
  server.registerResource(
    'job-result',
    new ResourceTemplate(resultUri('{job_id}'), { list }),
    {
      title: 'The result of a job',
      description: 'The answer of a job that has succeeded, as Markdown, and its structured output',
    },
    async ({ href }, { job_id }) => ({ contents: contentsOf(href, await read(href, job_id)) }),
  );

  async function read(uri: string, given: unknown): Promise<Job> {
    const id = jobIdSchema.safeParse({ id: given });
    if (!id.success) throw missing(uri, 'it names no job; use the uri of a list or of a tool');
    try {
      return await jobs.read(id.data.id, token);
    } catch (error) {
      if (!(error instanceof BerthError) || error.code !== 'job_not_found') throw error;
      throw missing(uri, 'this token has no such job; call list_jobs');
    }
  }
}

function resourceOf({ id, profile, endedAt }: Job) {
  const ended = endedAt === null ? '' : `, ended ${new Date(endedAt).toISOString()}`;
  return {
    uri: resultUri(id),
    name: id,
    title: `The result of ${id}`,
    description: `Profile ${profile}${ended}`,
    mimeType: 'text/markdown',
  };
}

function contentsOf(uri: string, { id, state, result }: Job) {
  if (!result) {
    throw missing(
      uri,
      isEnd(state)
        ? `${id} is ${state} and has no result; call get_job to read its error`
        : `${id} is ${state}; call get_job, which waits for the end`,
    );
  }
  const text = { uri, mimeType: 'text/markdown', text: result.result };
  if (result.structured_output === undefined) return [text];
  const json = JSON.stringify(result.structured_output);
  return [text, { uri, mimeType: 'application/json', text: json }];
}

function missing(uri: string, cause: string): ResourceNotFoundError {
  return new ResourceNotFoundError(uri, `cannot read the resource: ${cause}`);
}
