import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { realClaude, scripted } from '../support/claude.ts';
import { promptText } from '../support/messages-api.ts';
import { startSyncedPod } from '../support/synced-pod.ts';
import { until } from '../support/until.ts';

const files = { 'CLAUDE.md': 'The password is one.\n', 'settings.json': '{}\n' };

t.test('after a push the next prompt obeys it, with the real CLI', async (t) => {
  const settings = { BERTH_WARM_WORKERS: '1' };
  const { running, push, harbour } = await startSyncedPod(t, files, { cli: realClaude, settings });
  const first = await running.prompt('[[say one]] begin');
  const { session_id } = first.body;
  t.match(first, { status: 200, body: { config_commit: harbour.repository.head() } });
  const commit = push({ 'CLAUDE.md': 'The password is two.\n' });
  await running.log.logged('configuration_synced');
  const heard = async (prompt: string, rest: Record<string, unknown> = {}) => {
    const answer = await running.prompt(prompt, rest);
    t.match(answer, { status: 200, body: { config_commit: commit } }, prompt);
    const { requests } = running.surroundings.api;
    const asked = requests.findLast((each) => promptText(each) === prompt);
    return JSON.stringify(asked?.body);
  };
  t.match(await heard('[[say two]] new'), 'The password is two.');
  t.match(await heard('[[say three]] same', { session_id }), 'The password is two.');
  const { body: status } = await running.call('GET', '/v1/status');
  t.match(status.configuration, { commit, state: 'current' });
});

t.test(
  'a turn that runs ends as it began, and its session has the new commit after it',
  async (t) => {
    const { running, push, harbour } = await startSyncedPod(t, files);
    const old = harbour.repository.head();
    const turn = running.prompt('[[slow 1500]] [[say late]]');
    await until(
      'it runs',
      () => running.supervisor && running.surroundings.api.requests.length > 0,
    );
    const commit = push({ 'CLAUDE.md': 'The password is two.\n' });
    await running.log.logged('configuration_synced');
    const { status, body } = await turn;
    t.match({ status, body }, { status: 200, body: { config_commit: old } });
    const next = await running.prompt('[[say next]]', { session_id: body.session_id });
    t.match(next, { status: 200, body: { config_commit: commit } });
  },
);

t.test(
  'a commit with which no worker starts does no harm, and the next one is tried',
  async (t) => {
    const cli = scripted('claude-that-needs-good-settings');
    const settings = { BERTH_WARM_WORKERS: '1' };
    const { running, push, harbour, sync } = await startSyncedPod(t, files, { cli, settings });
    const good = harbour.repository.head();
    await running.log.logged('worker_ready');
    const bad = push({ 'settings.json': '{"env":{"A":"broken"}}\n' });
    await running.log.logged('configuration_synced', ({ commit }) => commit === bad);
    const waiting = running.prompt('[[say waits]]');
    await until('it is taken back', () => harbour.events('commit_rolled_back').length > 0);
    t.match(harbour.events('commit_rolled_back'), [{ commit: bad, last_good_commit: good }]);
    await running.log.logged('configuration_synced', ({ commit }) => commit === good);
    t.match(await waiting, { status: 200, body: { config_commit: good } }, 'the prompt has waited');
    t.match(await running.prompt('[[say one]]'), { status: 200, body: { config_commit: good } });
    sync.wake();
    const next = push({ 'settings.json': '{"env":{"A":"right"}}\n' });
    const volume = running.surroundings.config;
    await until('the next one is there', () =>
      readFileSync(join(volume, 'settings.json'), 'utf8').includes('right'),
    );
    await until('it is in use', async () => {
      const answer = await running.prompt('[[say two]]');
      return answer.body.config_commit === next;
    });
  },
);

t.test('the guard reverts the edit of a tool, and never a change of init', async (t) => {
  const { running, push } = await startSyncedPod(t, { ...files, 'hooks/a.sh': 'one\n' });
  const hook = join(running.surroundings.config, 'hooks/a.sh');
  push({ 'hooks/a.sh': 'two\n', 'hooks/b.sh': 'new\n' });
  await running.log.logged('configuration_synced');
  t.equal(readFileSync(hook, 'utf8'), 'two\n');
  t.same(
    running.log.lines.filter(({ event }) => event === 'configuration_changed'),
    [],
  );
  writeFileSync(hook, 'planted\n');
  await running.log.logged('configuration_changed');
  await until('it is reverted', () => readFileSync(hook, 'utf8') === 'two\n');
});

t.test('a push during a drain is written, and the last turn ends as it began', async (t) => {
  const settings = { BERTH_DRAIN: '1h' };
  const { running, push, harbour } = await startSyncedPod(t, files, { settings });
  const old = harbour.repository.head();
  const { api, config } = running.surroundings;
  const has = (text: string) => () => readFileSync(join(config, 'CLAUDE.md'), 'utf8') === text;
  const turn = running.prompt('[[slow 1500]] [[say late]]');
  await until('it runs', () => api.requests.length > 0);
  const stopped = running.supervisor.stop();
  await running.log.logged('draining');
  push({ 'CLAUDE.md': 'two\n' });
  await until('the push is on the volume', has('two\n'));
  t.match(await turn, { status: 200, body: { result: 'late', config_commit: old } });
  await stopped;
  push({ 'CLAUDE.md': 'three\n' });
  await until('init goes on without the supervisor', has('three\n'));
  t.same(harbour.events('sync_failed'), []);
});
