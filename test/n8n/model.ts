/**
 * What the stand-in for the model does with the prompts of the workflows: for those with a checkout the calls of tools that
 * a model would make, and where a schema is given, the call of its tool at the end.
 */
import { exampleOf } from '../support/messages-api/default-answer.ts';
import { promptText, type RecordedRequest, type Reply } from '../support/messages-api.ts';

interface Call {
  name: string;
  input: object;
}

const bash = (command: string): Call => ({ name: 'Bash', input: { command } });

/** By what the prompt has. */
const scripts: readonly { about: RegExp; calls: readonly Call[]; end?: string }[] = [
  { about: /Review the change of this pull request/, calls: [bash('git diff berth/base')] },
  {
    about: /Fix this issue/,
    calls: [
      { name: 'Read', input: { file_path: 'lamp.ts' } },
      {
        name: 'Edit',
        input: { file_path: 'lamp.ts', old_string: 'false', new_string: 'true' },
      },
      bash('git add lamp.ts'),
      bash('git commit -m "Switch the lamp on"'),
    ],
    end: 'The lamp is on.',
  },
  {
    about: /Update the outdated dependencies/,
    calls: [
      bash('git commit --allow-empty -m "Update the dependencies"'),
      bash('git push origin HEAD:berth/maintenance'),
    ],
    end: 'The dependencies are up to date.',
  },
];

export function replyTo(request: RecordedRequest): Reply | undefined {
  const { messages = [], tools = [] } = request.body ?? {};
  const made = messages.flatMap(({ role, content }) =>
    role === 'assistant' && Array.isArray(content)
      ? content.filter(({ type }) => type === 'tool_use')
      : [],
  );
  const script = scripts.find(({ about }) => about.test(promptText(request)));
  const call = script?.calls[made.length];
  if (call) return { tool: call };
  const schema = tools.find(({ name }) => name === 'StructuredOutput');
  if (schema && !made.some(({ name }) => name === schema.name)) {
    return { tool: { name: schema.name, input: exampleOf(schema.input_schema) as object } };
  }
  return script?.end === undefined ? undefined : { text: script.end };
}
