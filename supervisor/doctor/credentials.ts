/**
 * Checks the logins: which login the CLI uses, whether it is valid, and when a person is needed.
 */
import { join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  hideTokens,
  judgeCredentials,
  loginId,
  loginRemedy,
} from '../../shared/credentials.ts';
import { digestOf } from '../../shared/digest.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded, readProvided } from '../../shared/files.ts';
import { silent } from '../../shared/log.ts';
import {
  bringsLogin,
  loginVariable,
  settingsBringLogin,
  setupTokenIn,
} from '../../shared/login-variables.ts';
import type { SupervisorConfig } from '../config.ts';
import {
  adviceOn,
  type Deadline,
  loginDeadline,
  setupTokenDeadline,
} from '../credentials/deadline.ts';
import { LoginHistory } from '../credentials/history.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';

/** Whether the CLI uses the login file: no other login has precedence. */
export function usesFile(environment: SupervisorConfig['inherited']): boolean {
  return !bringsLogin(environment);
}

export async function checkCredentials(config: SupervisorConfig): Promise<Finding[]> {
  const { configDirectory, stateDirectory, credentialsSource, inherited } = config;
  const history = new LoginHistory(stateDirectory, silent);
  await history.load();
  const file = await readFileBounded(join(configDirectory, credentialsFileName), credentialsLimit)
    .then((content) => content && judgeCredentials(content))
    .catch((error: unknown) => ({ kind: 'torn', reason: messageOf(error) }) as const);
  const source = await checkSource(credentialsSource);
  const variable = loginVariable(inherited);
  const token = setupTokenIn(inherited);
  if (token !== undefined) {
    const since = history.since(digestOf(token).slice(0, 12));
    const deadline = since === undefined ? undefined : setupTokenDeadline(since);
    return [judgeDeadline('CLAUDE_CODE_OAUTH_TOKEN', 'a setup-token is set', deadline), ...source];
  }
  if (variable !== undefined) {
    return [ok(variable, 'it is set and has precedence over a login file'), ...source];
  }
  if (await settingsBringLogin(configDirectory)) {
    return [ok('settings.json', 'it provides a separate login'), ...source];
  }
  if (file?.kind === 'valid') return [judgeLogin(file.credentials, history), ...source];
  const causes = {
    blank: 'the login server has refused the login: its file is blank',
    torn: 'the login file is damaged',
    missing: 'there is no login: no variable, no login file',
  };
  return [failed('login', causes[file?.kind ?? 'missing'], loginRemedy), ...source];
}

function judgeLogin(credentials: Credentials, history: LoginHistory): Finding {
  hideTokens(credentials);
  const id = loginId(credentials);
  for (const fate of ['superseded', 'refused'] as const) {
    if (!history.is(fate, id)) continue;
    const cause = fate === 'refused' ? 'was refused' : 'is used up: the file is an old copy';
    return failed('login', `its refresh token ${cause}`, loginRemedy);
  }
  const ends = new Date(credentials.expiresAt).toISOString();
  const detail = `the login file is good, its access token is valid until ${ends} (the CLI refreshes it)`;
  return judgeDeadline('login', detail, loginDeadline(credentials, history.since(id)));
}

function judgeDeadline(subject: string, detail: string, deadline: Deadline | undefined): Finding {
  if (!deadline) return ok(subject, `${detail}; berth serve has not seen it yet`);
  const advice = adviceOn(deadline, Date.now());
  const guess = deadline.estimated ? ' (an estimate)' : '';
  const until = `${detail}; a person must log in again by ${new Date(deadline.at).toISOString()}${guess}`;
  if (advice === undefined) return ok(subject, until);
  return deadline.at <= Date.now()
    ? failed(subject, until, loginRemedy)
    : warning(subject, until, loginRemedy);
}

async function checkSource(path: string): Promise<Finding[]> {
  try {
    const content = await readProvided(path, credentialsLimit);
    if (content === undefined) return [absent(path, 'there is no provided credentials file')];
    const judgement = judgeCredentials(content);
    if (judgement.kind === 'valid') return [ok(path, 'the provided credentials can be read')];
    const why = judgement.kind === 'blank' ? 'it holds no token' : judgement.reason;
    return [warning(path, `the provided credentials cannot be used: ${why}`, 'correct the Secret')];
  } catch (error) {
    const remedy = 'give the pod fsGroup 1000, and the Secret defaultMode 0440';
    return [warning(path, messageOf(error), remedy)];
  }
}
