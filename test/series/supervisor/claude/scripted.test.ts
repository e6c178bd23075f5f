/**
 * Holds the scripted CLI of the tests to the real one: both go through the same cases, and what the
 * supervisor reads of their lines must agree.
 */
import { kill } from 'node:process';
import t, { type Test } from 'tap';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import { bindSpare, type LateOptions } from '../../../../supervisor/claude/late-options.ts';
import type { ClaudeProcess } from '../../../../supervisor/claude/process.ts';
import type { CliMessage, ControlRequest } from '../../../../supervisor/claude/protocol.ts';
import type { TurnResult } from '../../../../supervisor/claude/turn-result.ts';
import {
  makeSurroundings,
  realClaude,
  type Surroundings,
  scriptedClaude,
  startProcess,
} from '../../../support/claude.ts';
import { promptText, systemText } from '../../../support/messages-api.ts';
import { tailsOf } from '../../../support/processes.ts';
import { until } from '../../../support/until.ts';
import { inSeconds, limitHeaders } from '../../../support/usage-limit.ts';

t.jobs = 2;

const session = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';

/** One process of each CLI goes through these prompts. */
interface Case {
  what: string;
  /** Each with what it shows, for the name of a failure. */
  prompts: Record<string, string>;
  flags?: Parameters<typeof cliArguments>[0];
  /** What the first process learns after its start, as a shared spare does. */
  late?: LateOptions;
  environment?: Record<string, string>;
  /** The session goes on in a second process. */
  resumes?: boolean;
  config?: Record<string, string>;
}

/** This prompt is interrupted once its request has arrived. */
const interrupted = '[[hang headers]] stop me';
/** This prompt is interrupted once a part of its answer has arrived. */
const cutShort = '[[hang stream]] stop me';
/** The model answers this prompt with a text and a call of Bash, for ever. */
const endless = 'work for ever';
const bash = '[[tool Bash {"command":"echo from-a-tool"}]]';
const touch = '[[tool Bash {"command":"touch x"}]]';
const allowed = { 'settings.json': JSON.stringify({ permissions: { allow: ['Bash'] } }) };
const background = '[[tool Bash {"command":"tail -f /dev/null","run_in_background":true}]]';
const resets = inSeconds(3_600);
const near = limitHeaders('allowed_warning', resets, 'seven_day', '0.92');
const reached = limitHeaders('rejected', resets, 'five_hour', '1.0');
const past = limitHeaders('rejected', inSeconds(-120), 'seven_day_opus', '1.0');
const cases: Case[] = [
  {
    what: 'with instructions and settings.json',
    prompts: {
      'an answer': '[[say one]]',
      'a blank prompt': ' ',
      'a tool that settings.json allows': bash,
      'an API error that passes': '[[status 500]]',
      'an API error that stays': '[[status 400]]',
      'an answer after errors': '[[say good]]',
    },
    flags: { appendSystemPrompt: 'canary' },
    config: allowed,
  },
  {
    what: 'with options that are learned late',
    prompts: {
      'an answer': '[[say late]]',
      'a tool that the mode of settings.json would allow': touch,
    },
    config: { 'settings.json': JSON.stringify({ permissions: { defaultMode: 'acceptEdits' } }) },
    late: {
      model: 'sonnet',
      systemPrompt: 'You are a spare.',
      appendSystemPrompt: 'canary',
      permissionMode: 'manual',
    },
  },
  {
    what: 'with the limits of a subscription',
    prompts: {
      'no limit': '[[say one]]',
      'a limit that is near': `[[headers ${near}]] [[say near]]`,
      'a limit that is still near': `[[headers ${near}]] [[say still]]`,
      'a limit that is reached': `[[status 429 #1 ${reached}]]`,
      'a limit that is reached again': `[[status 429 #2 ${reached}]]`,
      'a limit that has ended': `[[status 429 #3 ${past}]]`,
      'a refusal without a limit': '[[status 429]]',
      'an answer after the limits': '[[say on]]',
    },
    flags: { model: 'claude-opus-5-5' },
    environment: {
      ANTHROPIC_API_KEY: '',
      CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests',
      CLAUDE_CODE_MAX_RETRIES: '1',
    },
  },
  {
    what: 'without settings, with retries',
    prompts: {
      'an answer': '[[say one]]',
      'a retry': '[[status 529 x1]] [[say at last]]',
      'an interrupt': interrupted,
      'an interrupt in the middle of an answer': cutShort,
      'a tool that nobody allowed': touch,
    },
    environment: { CLAUDE_CODE_MAX_RETRIES: '3' },
    resumes: true,
  },
  {
    what: 'with a rule and a bound on calls',
    prompts: {
      'a tool that the profile allows': bash,
      'a tool in the background': `${background} [[say begun]]`,
      'another tool in the background': `${background} [[say more]]`,
      'a bound on calls': endless,
      'an answer after the bound': '[[say go on]]',
    },
    flags: { allowRules: ['Bash'], maxTurns: 2 },
  },
  {
    what: 'against settings.json',
    prompts: { 'a tool that the profile denies': bash },
    flags: { denyRules: ['Bash'] },
    config: allowed,
  },
  {
    what: 'without a login',
    prompts: { 'no login': 'hi' },
    environment: { ANTHROPIC_API_KEY: '' },
  },
];

for (const one of cases) {
  t.test(`the scripted CLI behaves like the real CLI: ${one.what}`, async (t) => {
    let real: Record<string, unknown> = {};
    let scripted: Record<string, unknown> = {};
    await t.test('the real CLI runs the case', async (t) => {
      real = await observe(t, one, realClaude);
    });
    await t.test('the scripted CLI runs the case', async (t) => {
      scripted = await observe(t, one, scriptedClaude);
    });
    for (const what of Object.keys(real)) t.strictSame(scripted[what], real[what], what);
    t.strictSame(Object.keys(scripted), Object.keys(real));
  });
}

/** What the supervisor sees of a case, without what is new each time. */
async function observe(t: Test, one: Case, path: string): Promise<Record<string, unknown>> {
  const surroundings = await makeSurroundings(t, one.config);
  t.teardown(() => killTails(surroundings.config));
  Object.assign(surroundings.inherited, one.environment);
  const working = { text: 'so far', tool: { name: 'Bash', input: { command: 'true' } } };
  surroundings.api.reply((request) => (promptText(request) === endless ? working : undefined));
  const flags = cliArguments({ ...one.flags, sessionId: session });
  const first = startProcess(t, surroundings, { path, arguments: flags });
  const seen = await ask(first, one.prompts, surroundings, one.late);
  const refused = { code: 'cli_unavailable', message: /it answered/ };
  const unknownRequest = { subtype: 'no_such_request' } as unknown as ControlRequest;
  await t.rejects(first.control(unknownRequest), refused);
  const forbidden = { subtype: 'set_permission_mode', mode: 'bypassPermissions' } as const;
  await t.rejects(first.control(forbidden), refused);
  if (one.resumes) {
    await first.stop();
    const resume = (id: string) =>
      startProcess(t, surroundings, { path, arguments: cliArguments({ resume: id }) });
    const more = { 'a session that goes on': '[[say two]]' };
    Object.assign(seen, await ask(resume(session), more, surroundings));
    const unknown = resume(other).control({ subtype: 'initialize' });
    await t.rejects(unknown, { message: /No conversation found/ });
  }
  const asked = surroundings.api.requests.filter(({ path }) => path.startsWith('/v1/messages'));
  const last = asked.at(-1);
  const all: Record<string, unknown> = {
    ...seen,
    // The real one repeats a request that the API does not understand, in other forms.
    'what the API is asked': [...new Set(asked.map(promptText))],
    'the instructions': ['You are a spare.', 'canary'].filter(
      (text) => last && systemText(last).includes(text),
    ),
    'the model': last?.body?.model,
    'the history': last?.body?.messages?.filter(({ role }) => role === 'assistant').length,
  };
  // Last: the real one then begins a turn of its own, which the scripted one does not.
  if (first.background.length > 0)
    all['what becomes of work'] = await leaveWork(t, first, surroundings, path);
  await first.stop();
  return all;
}

async function ask(
  process: ClaudeProcess,
  prompts: Readonly<Record<string, string>>,
  { api }: Surroundings,
  late: LateOptions = {},
): Promise<Record<string, unknown>> {
  await bindSpare(process, late, 60_000);
  const seen: Record<string, unknown> = {};
  for (const [what, prompt] of Object.entries(prompts)) {
    const kinds: string[] = [];
    let text = '';
    const note = (message: CliMessage): void => {
      if (message.kind === 'text') text += message.text;
      const said = describe(message);
      if (said !== undefined && kinds.at(-1) !== said) kinds.push(said);
    };
    const turn = process.run(prompt, note);
    if (prompt === interrupted) {
      await api.waitForRequest((request) => promptText(request) === prompt);
      await process.interrupt();
    }
    if (prompt === cutShort) {
      await until('a part of the answer has arrived', () => text !== '');
      await process.interrupt();
    }
    seen[what] = { kinds, text, result: facts(await turn) };
  }
  return seen;
}

function killTails(config: string, count?: number): void {
  for (const { pid } of tailsOf(config).slice(0, count)) {
    try {
      kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

/** Of two commands in the background, one ends before the process and the other one does not. */
async function leaveWork(
  t: Test,
  process: ClaudeProcess,
  { config }: Surroundings,
  path: string,
): Promise<Record<string, unknown>> {
  await until('the commands run', () => tailsOf(config).length === 2);
  killTails(config, 1);
  await until('the end is reported', () => process.background.length === 1);
  const running = process.background;
  await process.stop();
  // The real one may end its work itself. The scripted one leaves it, so that a test of berth shows who ends it.
  if (path === scriptedClaude) t.equal(tailsOf(config).length, 1);
  return { running };
}

/** Nothing of messages that come as often as the API cuts its answer. */
function describe(message: CliMessage): string | undefined {
  switch (message.kind) {
    case 'tools':
      return `tools ${message.tools.map(({ name, input }) => `${name} ${JSON.stringify(input)}`)}`;
    case 'tool_results':
      return `tool_results ${message.results.map(({ isError }) => isError)}`;
    case 'retry':
      return `retry ${message.attempt}/${message.maxRetries} ${message.status}`;
    case 'failure':
      return `failure ${message.error} ${JSON.stringify(message.limit)}`;
    case 'limit':
      return `limit ${JSON.stringify(message.limit)}`;
    case 'background':
      return `background ${JSON.stringify(message.tasks)}`;
    case 'session':
      return `session ${message.sessionId} ${message.model}`;
    case 'text':
      return message.kind;
    default:
      return undefined;
  }
}

function facts(result: TurnResult): unknown {
  const { subtype, isError, sessionId, stopReason, terminalReason, numTurns, byCommand } = result;
  const { apiErrorStatus, apiErrorType, apiError, promptIds, permissionDenials } = result;
  return {
    ...{ subtype, isError, sessionId, stopReason, terminalReason, numTurns, byCommand },
    ...{ apiErrorStatus, apiErrorType, apiError, prompts: promptIds.length },
    denied: permissionDenials.map(({ tool_name }) => tool_name),
    // The words for a failure and for a denial are the CLI's own.
    result: isError || permissionDenials.length > 0 ? undefined : result.result,
    costs: result.costUsd > 0,
  };
}
