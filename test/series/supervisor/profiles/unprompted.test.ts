import { join } from 'node:path';
import t from 'tap';
import { schedulingTools } from '../../../../supervisor/profiles/unprompted.ts';
import { promptText } from '../../../support/messages-api.ts';
import { leaveScheduledTask } from '../../../support/scheduled-task.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const profiles = 'profiles:\n  default: {}\n  waking: {unprompted: allow}\n';

t.test(
  'tools that schedule are offered, and tasks fire, by a profile that allows it',
  async (t) => {
    const { prompt, surroundings, call } = await startWithRealCli(t, {
      config: { 'profiles.yaml': profiles },
      settings: { BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml') },
    });
    const { api, workspace } = surroundings;
    leaveScheduledTask(workspace, 'WAKE [[say woken]]');
    const woken = () => api.requests.filter((request) => promptText(request).startsWith('WAKE'));
    const denied = await prompt('[[tool CronList {}]]');
    t.match(denied.body.result, /No such tool available: CronList/);
    const offered = api.requests.flatMap(({ body }) => body?.tools ?? []).map(({ name }) => name);
    t.ok(offered.includes('Bash'));
    t.same(
      offered.filter((name) => schedulingTools.includes(name)),
      [],
    );
    t.same(woken(), [], 'a task in the shared directory does not fire');
    const allowed = await prompt('[[say one]]', { profile: 'waking' });
    const request = await api.waitForRequest(
      (each) => promptText(each).startsWith('WAKE'),
      150_000,
    );
    t.match(JSON.stringify(request.body?.tools), /ScheduleWakeup/);
    const next = await prompt('[[say two]]', { session_id: allowed.body.session_id });
    t.equal(next.body.result, 'two');
    const first = (await call('GET', `/v1/sessions/${denied.body.session_id}`)).body;
    t.equal(first.cost_usd, denied.body.cost_usd, 'the other session has paid for nothing');
  },
);
