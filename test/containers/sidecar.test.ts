/** The pod with init as a sidecar, in containers: the real images and the real CLI, on one volume. */
import t from 'tap';
import { freePort } from '../support/free-port.ts';
import { systemText } from '../support/messages-api.ts';
import { until } from '../support/until.ts';
import { gitToken, Surroundings } from './pod.ts';
import { cannotRun, images, imageWithClaude } from './podman.ts';

const skip = cannotRun();

t.setTimeout(900_000);

t.test('the pod with init as a sidecar', { skip }, async (t) => {
  const around = await Surroundings.open(t, ['components/sync']);
  const runtimeImage = await imageWithClaude(t, images.runtime, '/usr/local/bin/claude');
  const pod = around.pod(t, { runtimeImage });
  const [sync, gateway] = [await freePort(), await freePort()];
  await pod.stay(`127.0.0.1:${sync}`, {
    BERTH_SYNC_INTERVAL: '1s',
    BERTH_GATEWAY_REPOS: 'me/*',
    BERTH_GATEWAY_LISTEN: `127.0.0.1:${gateway}`,
  });
  await pod.start({ BERTH_GATEWAY_URL: `http://127.0.0.1:${gateway}` });
  await pod.answers('readyz');

  await t.test('a prompt after a push obeys it, without a restart', async (t) => {
    const first = await pod.prompt('[[say one]]');
    t.equal(first.body.config_commit, around.repository.head());
    const commit = around.repository.commit({ 'CLAUDE.md': 'Answer in rhymes.\n' });
    await until('a prompt obeys the push', async () => {
      const { body } = await pod.prompt('[[say two]]');
      return body.config_commit === commit;
    });
    const last = around.model.requests.at(-1);
    t.match(`${last && systemText(last)}${JSON.stringify(last?.body)}`, 'Answer in rhymes.');
  });

  await t.test('the runtime container fetches a repository through the gateway', async (t) => {
    const url = `http://127.0.0.1:${gateway}/me/dot-claude`;
    const { code, stderr } = await pod.exec('git', 'clone', '--quiet', url, '/tmp/clone');
    t.equal(code, 0, stderr);
    t.match((await pod.exec('cat', '/tmp/clone/CLAUDE.md')).stdout, 'Answer in rhymes.');
  });

  await t.test(
    'the git token is in no file, environment or process of the runtime container',
    async (t) => {
      const find = (text: string): Promise<{ stdout: string }> =>
        pod.exec(
          ...['sh', '-c'],
          `grep -rlsaF -e "$0" / --exclude-dir=proc --exclude-dir=sys; for p in /proc/[0-9]*; do [ "$p" = "/proc/$$" ] || grep -lsaF -e "$0" $p/environ $p/cmdline; done; true`,
          text,
        );
      t.match(
        (await find('Answer in rhymes.')).stdout,
        /CLAUDE\.md/,
        'the search finds what is there',
      );
      t.match((await find('BERTH_GATEWAY_URL')).stdout, /environ/);
      t.notMatch((await find(gitToken)).stdout, /\S/);
    },
  );
});
