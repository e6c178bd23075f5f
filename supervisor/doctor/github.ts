/**
 * Checks GitHub's token. The runtime container should have none; then there is nothing to check.
 */
import { readFile } from 'node:fs/promises';
import type { Environment } from '../../shared/config.ts';
import { messageOf } from '../../shared/errors.ts';
import { neverShow } from '../../shared/redact.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';
import { hostOf, onGitHub } from './egress.ts';
import { requestStatus } from './request-status.ts';

const names = ['BERTH_GIT_TOKEN', 'GITHUB_PAT', 'GITHUB_TOKEN', 'GH_TOKEN'];

export async function checkGithub(
  environment: Environment,
  signal: AbortSignal,
): Promise<Finding[]> {
  const name = names.find((each) => environment[each] || environment[`${each}_FILE`]);
  if (name === undefined) {
    return [absent('token', 'this container has no token, as it should be: only init needs one')];
  }
  const file = environment[`${name}_FILE`];
  const token = environment[name] || (file ? (await readFile(file, 'utf8')).trim() : '');
  neverShow(token);
  // A token for another server is not sent to GitHub.
  const api = onGitHub(environment) ? 'https://api.github.com' : '';
  const place = hostOf(environment.BERTH_GITHUB_API_URL || api);
  const path = `${URL.parse(environment.BERTH_GITHUB_API_URL ?? '')?.pathname.replace(/\/$/, '') ?? ''}/rate_limit`;
  const near = warning(
    name,
    'it is in this container, where the tools of the CLI can read it',
    'pass it to the init container only',
  );
  if (!place) return [near];
  try {
    const status = await requestStatus({ ...place, path, token }, environment, signal);
    const renew = 'create a new token and put it into the Secret';
    return [
      near,
      status < 400
        ? ok(name, `${place.host} accepts it`)
        : failed(name, `${place.host} answers ${status}: it is wrong, expired or revoked`, renew),
    ];
  } catch (error) {
    const detail = `${place.host} does not answer: ${messageOf(error)}`;
    return [near, warning(name, detail, 'see the findings about egress')];
  }
}
