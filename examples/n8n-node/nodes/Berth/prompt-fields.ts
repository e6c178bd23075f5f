/** The fields of the operations that send a prompt. */
import type { INodeProperties } from 'n8n-workflow';

const prompts = { resource: ['prompt'], operation: ['ask', 'askStream'] };
const jobs = { resource: ['job'], operation: ['start', 'startAndWait'] };

const option = (
  name: string,
  displayName: string,
  description: string,
  rest: Partial<INodeProperties> = {},
): INodeProperties => ({
  ...{ displayName, name, type: 'string', default: '', description },
  ...rest,
});

/** Options of prompts and jobs. */
const common: INodeProperties[] = [
  option(
    'allowedTools',
    'Allowed Tools',
    'Fewer tools than the profile allows, with commas between them; never more',
    { placeholder: 'e.g. Read,Grep' },
  ),
  option(
    'appendSystemPrompt',
    'Append to System Prompt',
    'Instructions that are appended to those of the profile',
    { typeOptions: { rows: 3 } },
  ),
  option(
    'attachments',
    'Attachments',
    'Names of binary fields of the item, with commas between them, or * for all. Pictures and PDFs go to the model, other files into the directory of the session.',
    { placeholder: 'e.g. data' },
  ),
  option(
    'fork',
    'Fork Session',
    'Whether to begin a new session with the history of the session, which stays unchanged',
    { type: 'boolean', default: false },
  ),
  option(
    'idempotencyKey',
    'Idempotency Key',
    'The same key and prompt get the first answer again. Without a value the execution, the node, the run, the item and the prompt make the key, so that a retry pays for no second prompt.',
  ),
  option('maxBudgetUsd', 'Max Budget (USD)', 'US dollars that the prompt may cost', {
    type: 'number',
    default: 1,
    typeOptions: { minValue: 0, numberPrecision: 4 },
  }),
  option('maxTurns', 'Max Turns', 'Calls of the model at most', {
    type: 'number',
    default: 10,
    typeOptions: { minValue: 1 },
  }),
  option('metadata', 'Metadata', 'A JSON object of texts that comes back with the answer', {
    type: 'json',
    default: '{}',
  }),
  option('model', 'Model', 'The model, if the profile allows requests to select it'),
  option(
    'restrictTools',
    'No Tools Except Allowed',
    'Whether the prompt may use only the tools in Allowed Tools; none of them if it is empty',
    { type: 'boolean', default: false },
  ),
  option('onRecycle', 'On Lost Process', 'What happens when the process is lost in the middle', {
    type: 'options',
    default: 'continue',
    options: [
      { name: 'Continue', value: 'continue', description: 'Tools may then run twice' },
      { name: 'Fail', value: 'fail' },
    ],
  }),
  option('outputSchema', 'Output Schema', 'A JSON Schema for structured_output', {
    type: 'json',
    default: '{}',
  }),
  option('profile', 'Profile', 'The profile; absent: the default profile of the token'),
  option('timeout', 'Time Limit', 'The time limit of the prompt', { placeholder: 'e.g. 90s' }),
];

const ofPrompts: INodeProperties[] = [
  option('onLimit', 'On Limit', 'What happens when a limit of the account is reached', {
    type: 'options',
    default: 'fail',
    options: [
      { name: 'Fail', value: 'fail' },
      { name: 'Wait for Its End', value: 'wait' },
    ],
  }),
];

const ofJobs: INodeProperties[] = [
  option('delay', 'Delay', 'The job begins after this time', { placeholder: 'e.g. 10m' }),
  option('expiresIn', 'Expires In', 'Give up after this time', { placeholder: 'e.g. 12h' }),
  option('maxAttempts', 'Max Attempts', 'Attempts that may fail', {
    type: 'number',
    default: 3,
    typeOptions: { minValue: 1, maxValue: 20 },
  }),
  option(
    'notBefore',
    'Not Before',
    'The job begins at this time, in the time zone of the workflow',
    { type: 'dateTime' },
  ),
  option('priority', 'Priority', 'Background jobs are behind all others', {
    type: 'options',
    default: 'normal',
    options: [
      { name: 'Background', value: 'background' },
      { name: 'Normal', value: 'normal' },
    ],
  }),
];

const byName = (a: INodeProperties, b: INodeProperties): number =>
  a.displayName.localeCompare(b.displayName);

const options = (
  show: Record<string, string[]>,
  given: readonly INodeProperties[],
): INodeProperties => ({
  displayName: 'Options',
  name: 'options',
  type: 'collection',
  placeholder: 'Add option',
  default: {},
  displayOptions: { show },
  options: [...given].sort(byName),
});

const shown = { resource: ['prompt', 'job'], operation: [...prompts.operation, ...jobs.operation] };

export const promptFields: INodeProperties[] = [
  {
    displayName: 'Prompt',
    name: 'prompt',
    type: 'string',
    typeOptions: { rows: 4 },
    default: '',
    required: true,
    placeholder: 'e.g. Review the change in /workspace/shop',
    description: 'The task or question for Claude Code',
    displayOptions: { show: shown },
  },
  {
    displayName: 'Session ID',
    name: 'sessionId',
    type: 'string',
    default: '',
    description: 'The session_id of an earlier answer, to continue that conversation',
    displayOptions: { show: shown },
  },
  options(prompts, [...common, ...ofPrompts]),
  options(jobs, [...common, ...ofJobs]),
];
