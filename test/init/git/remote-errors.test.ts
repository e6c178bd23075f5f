import t from 'tap';
import { asRemoteError, networkProblem, tooLarge } from '../../../init/git/remote-errors.ts';
import { BerthError } from '../../../shared/errors.ts';

const url = 'https://git.example/me/claude.git';
const coded = (code: string, more: object = {}): Error =>
  Object.assign(new Error(`it failed with ${code}`), { code, ...more });
const answered = (statusCode: number): Error => coded('HttpError', { data: { statusCode } });

t.test('each status of the server has a code and a remedy', async (t) => {
  const cases: [status: number, authenticated: boolean, code: string, text: RegExp][] = [
    [401, true, 'remote_refused', /wrong, expired or revoked.*put it into the-token/],
    [401, false, 'remote_refused', /requires a login.*put a token into the-token/],
    [403, true, 'remote_refused', /grant the token "Contents: read"/],
    [403, false, 'remote_refused', /refuses without a login/],
    [404, true, 'remote_refused', /the token has no access/],
    [404, false, 'remote_refused', /or it is private/],
    [407, true, 'remote_refused', /HTTPS_PROXY/],
    [418, true, 'remote_refused', /status 418/],
    [408, true, 'remote_unavailable', /in trouble/],
    [429, true, 'remote_unavailable', /limits the rate/],
    [503, true, 'remote_unavailable', /in trouble/],
  ];
  for (const [status, authenticated, code, message] of cases) {
    const error = asRemoteError(answered(status), { url, authenticated, tokenPlace: 'the-token' });
    t.match(error, { code, message, details: { http_status: status } }, `${status}`);
    t.ok(error?.message.includes(url));
  }
});

t.test('what is not git, and what the server lacks, cannot be retried', async (t) => {
  const context = { url, authenticated: true };
  const refused = { code: 'remote_refused' };
  t.match(asRemoteError(coded('SmartHttpError'), context), { ...refused, message: /not git/ });
  t.match(asRemoteError(coded('RemoteCapabilityError'), context), {
    ...refused,
    message: /shallow/,
  });
  const gone = new Error('upload-pack: not our ref 1234');
  t.match(asRemoteError(gone, context), { ...refused, message: /BERTH_REF still exists/ });
  t.match(tooLarge(url, 1024 ** 3), { ...refused, message: /larger than 1 ?Gi.*BERTH_MAX_REPO/ });
});

t.test('a failure of the network is found within the errors that wrap it', async (t) => {
  const inner = coded('ECONNREFUSED');
  for (const error of [
    inner,
    new TypeError('fetch failed', { cause: inner }),
    new AggregateError([inner, coded('ENETUNREACH')]),
  ]) {
    const found = asRemoteError(error, { url, authenticated: false });
    t.match(found, { code: 'remote_unavailable', message: /nothing listens there.*BERTH_REPO/ });
    t.not(found?.details.permanent, true);
  }
});

t.test('an untrusted certificate is permanent, a timeout and a proxy are not', async (t) => {
  const permanent = (error: unknown): boolean | undefined =>
    networkProblem(error, 'BERTH_REPO')?.permanent;
  t.equal(permanent(coded('DEPTH_ZERO_SELF_SIGNED_CERT')), true);
  t.equal(permanent(Object.assign(new Error('late'), { name: 'TimeoutError' })), false);
  t.equal(permanent(new Error('Proxy response (502) !== 200')), false);
});

t.test('an error of the git directory is not one of the server', async (t) => {
  const context = { url, authenticated: true };
  t.equal(asRemoteError(new Error('cannot read the object'), context), undefined);
  t.equal(asRemoteError(coded('ENOENT'), context), undefined);
  const known = new BerthError('volume_damaged', 'known');
  t.equal(asRemoteError(known, context), known, 'what has a remedy already stays');
});
