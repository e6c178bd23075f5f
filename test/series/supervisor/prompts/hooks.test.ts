import t from 'tap';
import { startWithRealCli } from '../../../support/supervisor.ts';

/** Each hook acts on a word that its input has: of the prompt, of the tool's input or of the answer. */
const hook = `
input=$(cat)
says() { case "$input" in *"\\"hook_event_name\\":\\"$1\\""*"$2"* | *"$2"*"\\"hook_event_name\\":\\"$1\\""*) return 0 ;; esac; return 1; }
says UserPromptSubmit no-entry && { echo 'not at night' >&2; exit 2; }
says UserPromptSubmit json-entry && echo '{"decision":"block","reason":"not on Sundays"}'
says UserPromptSubmit no-further && echo '{"continue":false,"stopReason":"closed"}'
says PreToolUse pre-stop && echo '{"continue":false,"stopReason":"before it"}'
says PostToolUse post-stop && echo '{"continue":false,"stopReason":"after it"}'
says PostToolUse post-fail && { echo 'no such file' >&2; exit 1; }
says Stop stop-stop && echo '{"continue":false,"stopReason":"at the end"}'
says Stop stop-block && echo '{"decision":"block","reason":"stop-block once more"}'
exit 0
`;
const events = ['UserPromptSubmit', 'PreToolUse', 'PostToolUse', 'Stop'];
const command = 'sh "$CLAUDE_CONFIG_DIR/hook.sh"';
const settings = JSON.stringify({
  permissions: { allow: ['Bash'] },
  hooks: Object.fromEntries(
    events.map((event) => [event, [{ hooks: [{ type: 'command', command }] }]]),
  ),
});

t.test('turns of a session whose settings have hooks', async (t) => {
  const { prompt, log, metricsUrl, surroundings } = await startWithRealCli(t, {
    config: { 'settings.json': settings, 'hook.sh': hook },
  });
  let session_id: string | undefined;

  await t.test('a turn that a hook stops is an error that names the hook', async (t) => {
    const bash = (echo: string): string => `[[tool Bash {"command":"echo ${echo}"}]]`;
    const cases: [string, Record<string, string>, boolean, (string | RegExp)?][] = [
      ['no-entry', { name: 'UserPromptSubmit', reason: 'not at night', command }, false],
      ['json-entry', { name: 'UserPromptSubmit', reason: 'not on Sundays' }, false],
      ['no-further', { name: 'UserPromptSubmit', reason: 'closed' }, false],
      [bash('pre-stop'), { name: 'PreToolUse:Bash', reason: 'before it' }, true],
      [bash('post-stop'), { name: 'PostToolUse:Bash', reason: 'after it' }, true],
      ['[[say stop-stop]]', { name: 'Stop', reason: 'at the end' }, true, 'stop-stop'],
      [
        '[[say stop-block]]',
        { name: 'Stop', reason: 'stop-block once more' },
        true,
        /^\[stand-in\] You said: Stop hook feedback:\nstop-block once more\n.*$/,
      ],
    ];
    for (const [text, hook, called, result] of cases) {
      const { status, body } = await prompt(text, session_id ? { session_id } : {});
      const { name, reason } = hook;
      t.equal(status, 422, text);
      t.equal(body.code, 'blocked_by_hook', text);
      t.same(body.hook, { event: name?.split(':')[0], ...hook }, text);
      t.match(body.detail, `cannot answer the prompt: the hook ${name} stopped it (${reason}); `);
      t.match(body, { retryable: false, session_id: String, cost_usd: Number, usage: {} });
      if (result === undefined) t.notOk('result' in body, text);
      else t.match(body.result, result, text);
      t.equal(body.num_turns > 0, called, text);
      session_id = body.session_id;
    }
    const passed = await prompt('[[say well]]', { session_id });
    t.match(passed, { status: 200, body: { result: 'well', warnings: [] } }, 'the session goes on');
    const failed = await prompt(bash('post-fail'), { session_id });
    t.match(failed, {
      status: 200,
      body: { warnings: [/hook PostToolUse:Bash failed.*: exit code 1: no such file/] },
    });
    t.match(await log.logged('cli_problem'), { kind: 'hook', name: 'PostToolUse:Bash' });
    t.same((await prompt('[[say well]]', { session_id })).body.warnings, []);
    t.match(await log.logged('turn_finished'), {
      code: 'blocked_by_hook',
      hook: 'UserPromptSubmit',
    });
    t.notMatch(log.text, /not at night|once more/, 'a reason may quote the prompt');
    const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
    t.match(metrics, /berth_prompts_total\{outcome="blocked_by_hook",profile="default"\} 7\n/);
  });

  await t.test(
    'a turn that ends without an answer is an error that contains the earlier text',
    async (t) => {
      let calls = 0;
      surroundings.api.reply(() => {
        calls += 1;
        if (calls === 1)
          return { text: 'Let me see.', tool: { name: 'Bash', input: { command: 'true' } } };
        // The CLI itself asks once for an answer that can be seen.
        return calls <= 3 ? { text: '' } : undefined;
      });
      const { status, body } = await prompt('Do it.', { session_id });
      t.equal(status, 502);
      t.match(body, { code: 'empty_answer', retryable: false, detail: /without a word/ });
      t.match(body, { session_id: String, usage: {}, num_turns: 3, result: 'Let me see.' });
      t.match(await prompt('[[say well]]', { session_id: body.session_id }), {
        status: 200,
        body: { result: 'well' },
      });
    },
  );
});

t.test('an output of a schema is an answer, also without a word', async (t) => {
  const { prompt, surroundings } = await startWithRealCli(t);
  const tool = { name: 'StructuredOutput', input: { n: 1 } };
  let calls = 0;
  surroundings.api.reply(() => (++calls === 1 ? { tool } : { text: '' }));
  const output_schema = { type: 'object', properties: { n: { type: 'number' } } };
  const answer = await prompt('Count.', { output_schema });
  t.match(answer, { status: 200, body: { structured_output: { n: 1 } } });
});
