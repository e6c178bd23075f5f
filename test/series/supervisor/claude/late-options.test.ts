import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, cliArguments } from '../../../../supervisor/claude/flags.ts';
import { bindSpare, splitOptions } from '../../../../supervisor/claude/late-options.ts';
import type { ClaudeProcess } from '../../../../supervisor/claude/process.ts';
import { makeSurroundings, type Surroundings, startProcess } from '../../../support/claude.ts';
import { promptText, type RecordedRequest, systemText } from '../../../support/messages-api.ts';

t.jobs = 2;

const settings = JSON.stringify({ permissions: { allow: ['Bash'] } });
const files = { 'CLAUDE.md': 'The memory of the configuration.', 'settings.json': settings };
const outputSchema = {
  type: 'object',
  properties: { answer: { type: 'string' } },
  required: ['answer'],
};
const structured = '[[tool StructuredOutput {"answer":"yes"}]]';

/** Each with what the process is asked. */
const cases: { what: string; options: CliOptions; prompt: string }[] = [
  { what: 'nothing', options: {}, prompt: '[[say hello]]' },
  {
    what: 'a system prompt and a permission mode',
    options: { systemPrompt: 'You are a spare.', permissionMode: 'manual' },
    prompt: '[[tool Write {"file_path":"a","content":"b"}]]',
  },
  {
    what: 'a model, appended instructions and a schema',
    options: { model: 'sonnet', appendSystemPrompt: 'Always be brief.', outputSchema },
    prompt: structured,
  },
  {
    what: 'everything at once',
    options: {
      model: 'sonnet',
      permissionMode: 'plan',
      systemPrompt: 'You are a spare.',
      appendSystemPrompt: 'Always be brief.',
      outputSchema,
    },
    prompt: structured,
  },
];

for (const { what, options, prompt } of cases) {
  t.test(
    `a bound spare sends the same request to the model as a process with flags: ${what}`,
    async (t) => {
      let flags: unknown;
      let bound: unknown;
      await t.test('a process with flags answers the prompt', async (t) => {
        flags = await observe(t, prompt, options, (process) =>
          process.control({ subtype: 'initialize' }),
        );
      });
      await t.test('a bound spare answers the same prompt', async (t) => {
        const { fixed, late } = splitOptions(options);
        bound = await observe(t, prompt, fixed, async (process) => {
          await process.control({ subtype: 'mcp_status' });
          await process.control({ subtype: 'reload_skills' });
          await bindSpare(process, late, 60_000);
        });
      });
      t.strictSame(bound, flags);
    },
  );
}

async function observe(
  t: Test,
  prompt: string,
  options: CliOptions,
  prepare: (process: ClaudeProcess) => Promise<unknown>,
) {
  const around = await makeSurroundings(t, files);
  const process = startProcess(t, around, { arguments: cliArguments(options) });
  await prepare(process);
  const { result, structuredOutput, permissionDenials, isError } = await process.run(prompt);
  const request = around.api.requests.find((each) => promptText(each) === prompt);
  return {
    result: withoutPlace(result, around),
    structuredOutput,
    denied: permissionDenials.map(({ tool_name }) => tool_name),
    isError,
    ...contentOf(request, around),
  };
}

function contentOf(request: RecordedRequest | undefined, around: Surroundings) {
  if (!request?.body) throw new Error('the model got no request');
  const { model, tools } = request.body as { model?: string; tools?: { name: string }[] };
  return {
    model,
    tools: tools?.map(({ name }) => name).sort(),
    system: withoutPlace(systemText(request), around),
    memory: JSON.stringify(request.body).includes(files['CLAUDE.md']),
  };
}

/** Without the paths and the names that are new each time. */
function withoutPlace(text: string, { workspace }: Surroundings): string {
  const parent = workspace.replace(/\/workspace$/, '');
  return text.replaceAll(parent, '').replaceAll(/plans\/[\w-]+\.md/g, 'plans/plan.md');
}

t.test(
  'a spare denies the tools that are not on its list, and refuses a forbidden mode',
  async (t) => {
    const managed = cliArguments({ allowRules: ['Bash', 'Write'], noHooks: true });
    for (const flags of [cliArguments(), managed]) {
      const around = await makeSurroundings(t, files);
      const process = startProcess(t, around, { arguments: flags });
      await process.control({ subtype: 'mcp_status' });
      await bindSpare(process, { onlyTools: ['Bash'], outputSchema }, 60_000);
      const { result, permissionDenials, structuredOutput } = await process.run(
        `[[tool Bash {"command":"echo done"}]][[tool Write {"file_path":"a","content":"b"}]]${structured}`,
      );
      t.match(permissionDenials, [{ tool_name: 'Write' }]);
      t.equal(permissionDenials.length, 1);
      t.strictSame(structuredOutput, { answer: 'yes' });
      t.match(result, /yes/);
      t.notOk(existsSync(join(around.workspace, 'a')));
      await t.rejects(bindSpare(process, { permissionMode: 'bypassPermissions' }), {
        code: 'cli_unavailable',
      });
    }
  },
);
