import t from 'tap';
import { readMessage } from '../../../supervisor/claude/protocol.ts';

const read = (line: object) => readMessage(JSON.stringify({ type: 'system', ...line }));
const run = (line: object) =>
  read({ subtype: 'hook_response', hook_event: 'Stop', hook_name: 'Stop', ...line });

t.test('the outcome, the decision and the reason of a hook are read', (t) => {
  const bare = { event: 'Stop', name: 'Stop', blocks: false, stops: false, said: '' };
  const cases: [object, object][] = [
    [
      { outcome: 'success', exit_code: 0, stdout: 'a remark' },
      { outcome: 'done', exitCode: 0 },
    ],
    [
      { outcome: 'error', exit_code: 127, stderr: 'x\nsh: gone: not found\n' },
      { outcome: 'failed', exitCode: 127, said: 'sh: gone: not found' },
    ],
    [
      { outcome: 'cancelled', exit_code: 1 },
      { outcome: 'timed_out', exitCode: 1 },
    ],
    [
      { outcome: 'error', exit_code: 2, stderr: 'no' },
      { outcome: 'done', exitCode: 2, blocks: true, said: 'no' },
    ],
    [
      { outcome: 'success', stdout: ' {"decision":"block","reason":"not\\nyet"}' },
      { outcome: 'done', exitCode: undefined, blocks: true, said: 'not yet' },
    ],
    [
      { outcome: 'success', stdout: '{"continue":false,"stopReason":"over","reason":"else"}' },
      { outcome: 'done', exitCode: undefined, stops: true, said: 'over' },
    ],
    [{ stdout: '{"continue":"no","reason":7}' }, { outcome: 'done', exitCode: undefined }],
    [
      { outcome: 7, stdout: '{no JSON' },
      { outcome: 'done', exitCode: undefined },
    ],
  ];
  for (const [line, hook] of cases) {
    t.same(run(line), { kind: 'hook', hook: { ...bare, ...hook } }, JSON.stringify(line));
  }
  t.equal(read({ subtype: 'hook_response' }), undefined, 'one of another shape decides nothing');
  t.end();
});

t.test('only one line of limited length is kept from the output of a hook', (t) => {
  const stderr = 'x'.repeat(100_000);
  t.match(run({ outcome: 'error', stderr }), { hook: { said: 'x'.repeat(500) } });
  t.end();
});

t.test('a prompt that a hook kept from the model names the command, and not the prompt', (t) => {
  const line = {
    subtype: 'informational',
    content:
      'UserPromptSubmit operation blocked by hook:\n[sh a.sh]: no\n\nOriginal prompt: secret',
    prompt_submit_outcome: { kind: 'blocked_by_hook', prompt_kept: false, reason: 'no' },
  };
  const by = {
    event: 'UserPromptSubmit',
    name: 'UserPromptSubmit',
    command: 'sh a.sh',
    said: 'no',
  };
  t.same(read(line), { kind: 'prompt_stopped', by });
  t.same(read({ ...line, content: 'Operation stopped by hook: no' }), {
    kind: 'prompt_stopped',
    by: { ...by, command: undefined },
  });
  t.equal(read({ ...line, prompt_submit_outcome: undefined }), undefined, 'any other remark');
  t.end();
});

t.test('a turn that ended against its hooks is reported as hook_overruled', (t) => {
  const line = { subtype: 'notification', key: 'stop-hook-block-cap', text: 'A hook blocked ...' };
  t.same(read(line), { kind: 'hook_overruled' });
  t.equal(read({ ...line, key: 'stop-hook-error' }), undefined);
  t.end();
});
