/**
 * Spares that serve prompts with other options. The first test shows that the real CLI passes its self-test, and what it
 * makes of the options; which spare serves which prompt is berth's own logic, with the scripted CLI.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { selfTest } from '../../../../supervisor/cli/self-test.ts';
import { makeSurroundings, realClaude, scriptedClaude } from '../../../support/claude.ts';
import { promptText, systemText } from '../../../support/messages-api.ts';
import {
  type RunningSupervisor,
  type SupervisorOptions,
  startSupervisor,
} from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 2;

const parts = { testCli: async () => ({ learnsLate: true }) };
const settings = { BERTH_WARM_WORKERS: '1', BERTH_MAX_WORKERS: '4' };
const schema = {
  type: 'object',
  properties: { answer: { type: 'string' } },
  required: ['answer'],
};

async function start(t: Test, options: SupervisorOptions = {}, profiles?: string) {
  const surroundings = options.surroundings ?? (await makeSurroundings(t, options.config));
  const file = join(surroundings.workspace, 'profiles.yaml');
  if (profiles !== undefined) writeFileSync(file, profiles);
  return startSupervisor(t, {
    parts,
    ...options,
    surroundings,
    settings: {
      ...settings,
      ...(profiles === undefined ? {} : { BERTH_PROFILES_FILE: file }),
      ...options.settings,
    },
  });
}

const workers = async (made: RunningSupervisor) => {
  const { body } = await made.call('GET', '/v1/status');
  return body.workers as { name: string; state: string; profile: string; session_id: string }[];
};

/** Resolves when so many spares are ready; gives their names. */
const spares = (made: RunningSupervisor, count: number) =>
  until(`there are ${count} spares`, async () => {
    const names = (await workers(made))
      .filter(({ state }) => state === 'warm')
      .map(({ name }) => name);
    return names.length === count && names;
  });

const ownerOf = async (made: RunningSupervisor, sessionId: string) =>
  (await workers(made)).find(({ session_id }) => session_id === sessionId)?.name;

t.test('a prompt with overrides is served by a spare, and its session goes on there', async (t) => {
  const made = await start(t, {
    cli: realClaude,
    parts: { testCli: selfTest },
    config: { 'CLAUDE.md': 'The memory.' },
    settings: { BERTH_MAX_WORKERS: '2' },
  });
  const ready = await spares(made, 2);
  const overrides = {
    model: 'sonnet',
    append_system_prompt: 'Always be brief.',
    allowed_tools: ['Read'],
    output_schema: schema,
  };
  const prompt = '[[tool Bash {"command":"true"}]][[tool StructuredOutput {"answer":"yes"}]]';
  const { status, body } = await made.prompt(prompt, overrides);
  t.equal(status, 200);
  t.match(body, {
    structured_output: { answer: 'yes' },
    permission_denials: [{ tool_name: 'Bash' }],
  });
  const request = made.surroundings.api.requests.find((each) => promptText(each) === prompt);
  t.match(request?.body?.model, /sonnet/);
  t.match(systemText(request as never), 'Always be brief.');
  t.ok(ready.includes(String(await ownerOf(made, body.session_id))));

  const worker = await ownerOf(made, body.session_id);
  const second = await made.prompt('[[tool StructuredOutput {"answer":"again"}]]', {
    ...overrides,
    session_id: body.session_id,
  });
  t.match(second.body, { structured_output: { answer: 'again' } });
  t.equal(await ownerOf(made, body.session_id), worker);
});

t.test('profiles that differ only in late options share their spares', async (t) => {
  const profiles = `profiles:
  default: { warm: 1 }
  poet: { warm: 1, append_system_prompt: Answer in verse. }
  judge: { warm: 1, model: sonnet, system_prompt: You are a judge. }
`;
  const made = await start(t, {}, profiles);
  await spares(made, 1);
  t.equal((await made.prompt('[[say hello]]')).status, 200);
  for (const [profile, text] of [
    ['poet', 'Answer in verse.'],
    ['judge', 'You are a judge.'],
  ] as const) {
    const ready = await spares(made, 1);
    const { body } = await made.prompt(`[[say I am the ${profile}]]`, { profile });
    t.equal(body.result, `I am the ${profile}`);
    t.equal(body.profile, profile);
    const request = made.surroundings.api.requests.find(
      (each) => promptText(each) === `[[say I am the ${profile}]]`,
    );
    t.match(systemText(request as never), text);
    t.strictSame([await ownerOf(made, body.session_id)], ready);
  }
});

t.test('a spare that refuses its options is replaced without an error', async (t) => {
  const surroundings = await makeSurroundings(t);
  const path = join(surroundings.workspace, 'claude');
  // Only processes without a model in their flags are asked to set one.
  writeFileSync(
    path,
    `#!/bin/sh
if [ "$1" = --version ]; then exec '${scriptedClaude}' "$@"; fi
sed -u 's/"set_model"/"no_such_request"/' | '${scriptedClaude}' "$@"
`,
  );
  chmodSync(path, 0o755);
  const made = await start(t, { surroundings, cli: path });
  await spares(made, 2);
  const { status, body } = await made.prompt('[[say hello]]', { model: 'sonnet' });
  t.equal(status, 200);
  t.equal(body.result, 'hello');
  t.match(await made.log.logged('spare_refused'), { level: 'warn', profile: 'default' });
});

t.test('the spare for overrides makes room for a session', async (t) => {
  const made = await start(t, { settings: { BERTH_MAX_WORKERS: '2' } });
  await spares(made, 2);
  const [one, two] = await Promise.all([made.prompt('[[say one]]'), made.prompt('[[say two]]')]);
  t.strictSame([one.status, two.status], [200, 200]);
  t.match(await made.log.logged('worker_recycled'), { reason: 'place' });
});

t.test('without shared spares, a prompt with late options gets its own process', async (t) => {
  const made = await start(t, { settings: { BERTH_SHARED_SPARES: '0', BERTH_MAX_WORKERS: '2' } });
  const ready = await spares(made, 1);
  const { body } = await made.prompt('[[say hello]]', { model: 'sonnet' });
  t.equal(body.result, 'hello');
  t.notOk(ready.includes(String(await ownerOf(made, body.session_id))));
});
