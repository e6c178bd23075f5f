import t from 'tap';
import {
  type CliMessage,
  controlLineOf,
  readMessage,
  userLine,
} from '../../../supervisor/claude/protocol.ts';

const id = 'e2ad0f0c-7c1c-4c7e-9a55-3f0d6a1f2b3c';
const read = (line: unknown): CliMessage | undefined => readMessage(JSON.stringify(line));

t.test('system/init gives the session', (t) => {
  const line = { type: 'system', subtype: 'init', session_id: id, model: 'm', skills: ['tea'] };
  const loaded = {
    mcpServers: [],
    plugins: [],
    pluginErrors: [],
    keySource: 'none',
    skills: ['tea'],
  };
  t.same(read(line), { kind: 'session', sessionId: id, model: 'm', skills: ['tea'], loaded });
  const bare = { subtype: 'init', session_id: id, type: 'system', skills: 'none' };
  t.same(read(bare), {
    kind: 'session',
    sessionId: id,
    model: '',
    skills: [],
    loaded: { ...loaded, skills: [] },
  });
  t.throws(() => read({ ...line, session_id: '../../evil' }), 'an id becomes the name of a file');
  t.end();
});

t.test('text comes from the deltas of the stream', (t) => {
  const delta = (delta: object) => ({
    type: 'stream_event',
    event: { type: 'content_block_delta', delta },
    parent_tool_use_id: null,
  });
  t.same(read(delta({ type: 'text_delta', text: 'a' })), { kind: 'text', text: 'a' });
  t.equal(read(delta({ type: 'input_json_delta', partial_json: '{' })), undefined);
  t.equal(read(delta({ type: 'text_delta', text: 7 })), undefined);
  t.equal(read({ type: 'stream_event' }), undefined);
  t.end();
});

t.test('the usage of a model call is reported at the start and at the end of the call', (t) => {
  const usage = {
    input_tokens: 3,
    output_tokens: 1,
    cache_creation_input_tokens: 20,
    cache_read_input_tokens: 10,
  };
  const event = (event: object) => read({ type: 'stream_event', event });
  const begun = { kind: 'usage', begins: true, usage };
  t.strictSame(event({ type: 'message_start', message: { usage } }), begun);
  const none = Object.fromEntries(Object.keys(usage).map((name) => [name, 0]));
  t.strictSame(event({ type: 'message_delta', usage: { output_tokens: 40 } }), {
    kind: 'usage',
    begins: false,
    usage: { ...none, output_tokens: 40 },
  });
  t.equal(event({ type: 'message_stop' }), undefined);
  t.end();
});

t.test('tools come from the assistant, its text and thoughts are left to the deltas', (t) => {
  const tool = { type: 'tool_use', id: 'toolu_1', name: 'Bash', input: { command: 'true' } };
  const said = { type: 'text', text: 'a' };
  const line = (content: unknown) => ({ type: 'assistant', message: { content } });
  t.same(read(line([said, tool])), {
    kind: 'tools',
    tools: [{ id: 'toolu_1', name: 'Bash', input: { command: 'true' } }],
  });
  t.equal(read(line([said, { type: 'thinking' }])), undefined);
  t.throws(() => read(line('text')));
  t.throws(() => read(line([{ type: 'tool_use', id: 7 }])));
  t.end();
});

t.test('the output of a subagent is not part of the answer', (t) => {
  const parent_tool_use_id = 'toolu_1';
  const event = { type: 'content_block_delta', delta: { type: 'text_delta', text: 'a' } };
  const content = [{ type: 'tool_use', id: 't', name: 'Read', input: {} }];
  t.equal(read({ type: 'stream_event', event, parent_tool_use_id }), undefined);
  t.equal(read({ type: 'assistant', message: { content }, parent_tool_use_id }), undefined);
  t.equal(
    read({ type: 'assistant', error: 'x', message: { content }, parent_tool_use_id }),
    undefined,
  );
  t.end();
});

t.test('a failure is reported by the name that the CLI gives', (t) => {
  const message = { content: [{ type: 'text', text: 'Failed to authenticate' }] };
  t.same(read({ type: 'assistant', error: 'authentication_failed', message }), {
    kind: 'failure',
    error: 'authentication_failed',
  });
  t.end();
});

t.test('the end of a tool is reported without the output of the tool', (t) => {
  const line = (content: unknown, rest = {}) => ({ type: 'user', message: { content }, ...rest });
  const block = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'a secret' };
  t.same(read(line([{ type: 'text', text: 'a' }, block, { ...block, is_error: true }])), {
    kind: 'tool_results',
    results: [
      { id: 'toolu_1', isError: false },
      { id: 'toolu_1', isError: true, error: 'a secret' },
    ],
  });
  t.equal(read(line('a prompt')), undefined);
  t.equal(read(line([{ type: 'text', text: 'a' }])), undefined);
  t.equal(read(line([{ type: 'tool_result' }])), undefined);
  t.equal(read(line([block], { parent_tool_use_id: 'toolu_0' })), undefined, "a subagent's");
  t.end();
});

t.test('a limit of the account is read from each message that has it, with its times', (t) => {
  const rate_limit_info = {
    status: 'rejected',
    resetsAt: 1_800_000_000,
    rateLimitType: 'five_hour',
    isUsingOverage: false,
    unifiedWindows: { five_hour: { utilization: 1, resetsAt: 1_800_000_000 } },
  };
  const limit = {
    status: 'rejected',
    type: 'five_hour',
    resetsAt: 1_800_000_000_000,
    utilization: undefined,
    usingOverage: false,
    windows: { five_hour: { utilization: 1, resetsAt: 1_800_000_000_000 } },
  };
  t.same(read({ type: 'rate_limit_event', rate_limit_info }), { kind: 'limit', limit });
  const failed = { type: 'assistant', error: 'rate_limit', message: { content: [] } };
  t.same(read({ ...failed, api_error_params: { rate_limit_info } }), {
    kind: 'failure',
    error: 'rate_limit',
    limit,
  });
  const odd = { status: 'allowed', resetsAt: 'soon', unifiedWindows: [7] };
  t.match(read({ type: 'rate_limit_event', rate_limit_info: odd }), {
    limit: { status: 'allowed', resetsAt: undefined, windows: {} },
  });
  t.end();
});

t.test('a retry is reported with the attempt, the delay and the status', (t) => {
  const line = {
    type: 'system',
    subtype: 'api_retry',
    attempt: 1,
    max_retries: 10,
    retry_delay_ms: 600,
    error_status: 529,
  };
  const retry = { kind: 'retry', attempt: 1, maxRetries: 10, delayMs: 600, status: 529 };
  t.same(read(line), retry);
  t.same(read({ ...line, error_status: undefined }), { ...retry, status: null });
  t.end();
});

const result = {
  type: 'result',
  subtype: 'success',
  is_error: false,
  session_id: id,
  result: 'hello',
  stop_reason: 'end_turn',
  terminal_reason: 'completed',
  usage: {
    input_tokens: 1,
    output_tokens: 2,
    cache_creation_input_tokens: 3,
    cache_read_input_tokens: 4,
    service_tier: 'standard',
  },
  model_usage_since_last_result: { opus: { costUSD: 0.5 }, haiku: { costUSD: 0.25 } },
  total_cost_usd: 99,
  num_turns: 2,
  duration_ms: 300,
  ttft_ms: 40,
  permission_denials: [{ tool_name: 'Bash', tool_use_id: 't', tool_input: { command: 'rm' } }],
  user_message_uuids: ['p'],
};

t.test('a result is read whole, with the cost of this turn and not of the process', (t) => {
  t.same(read(result), {
    kind: 'result',
    result: {
      subtype: 'success',
      isError: false,
      sessionId: id,
      result: 'hello',
      stopReason: 'end_turn',
      terminalReason: 'completed',
      apiErrorStatus: undefined,
      apiErrorType: undefined,
      apiError: undefined,
      structuredOutput: undefined,
      byCommand: false,
      usage: {
        input_tokens: 1,
        output_tokens: 2,
        cache_creation_input_tokens: 3,
        cache_read_input_tokens: 4,
      },
      costUsd: 0.75,
      costSeen: true,
      numTurns: 2,
      durationMs: 300,
      ttftMs: 40,
      permissionDenials: [{ tool_name: 'Bash', tool_use_id: 't', tool_input: { command: 'rm' } }],
      promptIds: ['p'],
      otherOrigin: false,
    },
  });
  t.end();
});

t.test('a result without a text contains the errors', (t) => {
  const { result: _, ...rest } = { ...result, subtype: 'error_max_turns', errors: ['a', 'b'] };
  t.match(read(rest), { result: { subtype: 'error_max_turns', result: 'a; b' } });
  t.end();
});

t.test('a result of odd shape is read as far as it goes', (t) => {
  const line = { type: 'result', subtype: 'success', is_error: true, session_id: id };
  const odd = {
    ...line,
    usage: 'much',
    num_turns: null,
    permission_denials: {},
    api_error_status: null,
  };
  for (const shape of [line, odd]) {
    t.match(read(shape), {
      result: {
        isError: true,
        result: '',
        stopReason: null,
        apiErrorStatus: undefined,
        usage: { input_tokens: 0, output_tokens: 0 },
        costUsd: 0,
        numTurns: 0,
        permissionDenials: [],
      },
    });
  }
  t.throws(() => read({ ...line, is_error: undefined }), 'but not without what decides');
  t.throws(() => read({ ...line, session_id: 7 }));
  t.end();
});

t.test('a result without prompts, and one of another origin, say so', (t) => {
  const { user_message_uuids: _, ...rest } = result;
  t.match(read(rest), { result: { promptIds: [], otherOrigin: false } });
  t.match(read({ ...result, origin: { kind: 'task-notification' } }), {
    result: { promptIds: ['p'], otherOrigin: true },
  });
  t.end();
});

t.test('the start and the end of a prompt are reported', (t) => {
  const line = { type: 'command_lifecycle', state: 'started', command_uuid: 'u' };
  t.same(read(line), { kind: 'started', promptId: 'u' });
  for (const state of ['completed', 'cancelled', 'discarded', 'refused']) {
    t.same(read({ ...line, state }), { kind: 'over', promptId: 'u' });
  }
  t.equal(read({ ...line, state: 'queued' }), undefined);
  t.equal(read({ ...line, command_uuid: undefined }), undefined);
  t.end();
});

t.test('an input of a tool that is nested very deeply is not passed on', (t) => {
  const of = (levels: number) => {
    const input = `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const block = `{"type":"tool_use","id":"a","name":"X","input":${input}}`;
    return readMessage(`{"type":"assistant","message":{"content":[${block}]}}`);
  };
  t.match(of(100), { kind: 'tools', tools: [{ input: [[[]]] }] });
  t.match(of(100_000), { kind: 'tools', tools: [{ input: /nested too deeply/ }] });
  t.end();
});

t.test('an answer to a control request is a success or an error', (t) => {
  const line = (response: object) => ({ type: 'control_response', response });
  t.match(read(line({ subtype: 'success', request_id: 'r', response: {} })), {
    kind: 'control',
    requestId: 'r',
    error: undefined,
  });
  t.match(read(line({ subtype: 'error', request_id: 'r', error: 'no' })), { error: 'no' });
  t.throws(() => read(line({ subtype: 'success' })));
  t.end();
});

t.test('an unused message is ignored, and a line that is not JSON is an error', (t) => {
  for (const line of [null, 7, 'text', [], {}, { type: 'user' }, { type: 'rate_limit_event' }]) {
    t.equal(read(line), undefined, JSON.stringify(line));
  }
  t.equal(read({ type: 'system', subtype: 'background_tasks_changed' }), undefined);
  t.throws(() => readMessage('Warning: something'), SyntaxError);
  t.throws(() => readMessage(''), SyntaxError);
  t.end();
});

t.test('only the commands of the user are read from the answer to initialize', (t) => {
  const commands = [
    { name: 'review', description: 'Reviews (user)', argumentHint: '' },
    { name: 'tea', aliases: ['brew'] },
    { name: 'model', aliases: ['m'], builtin: true },
  ];
  const answer = (response: unknown) =>
    read({
      type: 'control_response',
      response: { subtype: 'success', request_id: 'r', response },
    });
  t.match(answer({ commands, pid: 7 }), { kind: 'control', commands: ['review', 'tea', 'brew'] });
  for (const other of [undefined, null, 7, {}, { commands: 'none' }, { commands: [7] }]) {
    t.equal((answer(other) as { commands?: unknown }).commands, undefined);
  }
  t.end();
});

t.test('each message is written as one line of JSON, whatever the prompt contains', (t) => {
  const line = userLine('two\nlines\u2028 and "quotes" \ud800', 'an-id');
  t.equal(line.indexOf('\n'), line.length - 1);
  t.match(JSON.parse(line), {
    type: 'user',
    message: { role: 'user', content: /^two\nlines/ },
    parent_tool_use_id: null,
    client_composed: true,
    uuid: 'an-id',
  });
  t.notOk('client_composed' in JSON.parse(userLine('/review', 'an-id', true)));
  const control = controlLineOf('r', { subtype: 'interrupt', cancel_queued: true });
  t.same(JSON.parse(control), {
    type: 'control_request',
    request_id: 'r',
    request: { subtype: 'interrupt', cancel_queued: true },
  });
  t.equal(control.indexOf('\n'), control.length - 1);
  t.end();
});
