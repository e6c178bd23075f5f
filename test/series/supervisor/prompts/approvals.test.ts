/** Attachments and approvals with the real CLI: what the CLI passes on, when it asks, and how it goes on. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { finishTask } from '../../../../supervisor/prompts/overtaken-turn.ts';
import { carryOnDecided } from '../../../../supervisor/prompts/resume-prompt.ts';
import { bash, startWithApprovals } from '../../../support/approvals.ts';
import { realClaude } from '../../../support/claude.ts';

const png =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

t.test(
  'files reach the model, and a job that waits for an approval survives a restart',
  async (t) => {
    const first = await startWithApprovals(t, '', {
      cli: realClaude,
      allow: 'Bash(echo:*)", "Read',
      ask: 'Bash(touch:*)", "Edit',
    });
    const { surroundings, prompt, pending, decide, call } = first;
    const attachments = [
      { name: 'x.png', data: png },
      { name: 'x.pdf', data: Buffer.from('%PDF-1.4\n%%EOF').toString('base64') },
      { name: '../data.csv', text: 'month,sum' },
    ];
    surroundings.api.reply(({ body }) => {
      const messages = JSON.stringify(body?.messages ?? '');
      if (messages.includes('tool_result'))
        return { text: messages.includes('month,sum') ? 'read' : '' };
      const file_path = join(surroundings.workspace, 'attachments/data.csv');
      return { tool: { name: 'Read', input: { file_path } } };
    });
    const seen = await prompt('Look', { attachments });
    t.match(seen, { status: 200, body: { result: 'read', permission_denials: [] } });
    const sent = JSON.stringify(surroundings.api.requests.at(-1)?.body?.messages);
    t.match(sent, `"media_type":"image/png","data":"${png}"`);
    t.match(sent, /"type":"document".*"media_type":"application\/pdf"/);
    surroundings.api.reply(undefined);
    // The prompts that follow need no process of their own.
    const { session_id } = seen.body;

    const denied = prompt('[[tool Write {"file_path":"new.txt","content":"x"}]]', {
      session_id,
    });
    const [edit] = await pending();
    t.match(edit, { tool: 'Write', input: { content: 'x' } }, 'the rule Edit stands for Write too');
    await decide(edit.id, { decision: 'deny', message: 'not today' });
    t.match((await denied).body, { result: /not today/, approvals: [{ decision: 'deny' }] });
    const allowed = prompt(bash('echo hi && touch one'), { session_id });
    const [compound] = await pending();
    await decide(compound.id, { decision: 'allow', updated_input: { command: 'touch two' } });
    t.match((await allowed).body, { approvals: [{ decision: 'allow' }], permission_denials: [] });
    t.notOk(existsSync(join(surroundings.workspace, 'one')));
    t.ok(existsSync(join(surroundings.workspace, 'two')));
    const other = await prompt(bash('curl http://127.0.0.1'), { session_id });
    t.match(other.body, { result: /granted/, permission_denials: [{ tool_name: 'Bash' }] });

    const { body: job } = await call('POST', '/v1/jobs', { body: { prompt: bash('touch three') } });
    const [{ id }] = await pending();
    await first.supervisor.stop();
    const second = await startWithApprovals(t, '', { cli: realClaude, surroundings });
    t.match(await second.pending(), [{ id, job_id: job.id }]);
    await second.decide(id, { decision: 'allow' });
    const { body: ended } = await second.call('GET', `/v1/jobs/${job.id}?wait=60s`);
    t.match(ended, { state: 'succeeded', result: { approvals: [{ id, decision: 'allow' }] } });
    t.ok(existsSync(join(surroundings.workspace, 'three')));
    const texts = JSON.stringify(surroundings.api.requests.at(-1)?.body);
    t.match(texts, carryOnDecided, 'the turn goes on');
    t.notMatch(texts, finishTask, 'the resumed session has served no other prompt');
  },
);
