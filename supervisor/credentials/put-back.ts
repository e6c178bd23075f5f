/**
 * Puts the last good login back where the CLI was left with none.
 * Always holds: once for each refresh token, and never one that was just refused or used up; one whose
 * putting back has failed counts as not tried.
 */
import { loginId } from '../../shared/credentials.ts';
import type { Log } from '../../shared/log.ts';
import type { LoginHistory } from './history.ts';
import type { LastGood } from './last-good.ts';
import { type LoginFile, Overtaken } from './login-file.ts';

export interface PutBackOptions {
  file: LoginFile;
  history: LoginHistory;
  lastGood: LastGood;
  log: Log;
}

/** What has come of it: `none` if no login is left that could be. */
export type PutBackOutcome = 'put_back' | 'overtaken' | 'failed' | 'none';

/** @param kind what the file was found to be, for the log */
export async function putBack(options: PutBackOptions, kind: string): Promise<PutBackOutcome> {
  const { file, history, lastGood, log } = options;
  const kept = await lastGood.all();
  const fates = ['refused', 'superseded', 'put_back'] as const;
  const good = kept.find((each) => !fates.some((fate) => history.is(fate, loginId(each))));
  if (!good) return 'none';
  // Noted first: killed in between, it is not tried for ever.
  await history.note('put_back', loginId(good));
  try {
    await file.replace(good);
  } catch (error) {
    // It was not tried: it may be the next time.
    await history.takeBack('put_back', loginId(good));
    if (error instanceof Overtaken) return 'overtaken';
    log.error('credentials_unkept', 'cannot put the last good credentials back', { error });
    return 'failed';
  }
  log.warn('credentials_put_back', `put the last good login back: the file was ${kind}`, {
    state: kind,
    refresh_token_id: good.refreshTokenId,
  });
  return 'put_back';
}
