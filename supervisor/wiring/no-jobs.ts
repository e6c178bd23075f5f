/** Stands for the jobs as long as no store of jobs is wired: every call is answered `job_store_unavailable`. */
import { BerthError } from '../../shared/errors.ts';
import type { JobParts } from '../http/jobs.ts';

async function refuse(): Promise<never> {
  throw new BerthError(
    'job_store_unavailable',
    'cannot use jobs: this server has no store of jobs; use POST /v1/prompts',
  );
}

export const noJobs: Pick<JobParts, 'jobs' | 'checkCallback'> = {
  jobs: {
    ...{ accept: refuse, read: refuse, list: refuse, cancel: refuse, retry: refuse },
    ...{ remove: refuse, events: refuse, onChange: () => () => {} },
  },
  checkCallback: () => {},
};
