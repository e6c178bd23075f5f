import type {
  IExecuteFunctions,
  INodeExecutionData,
  INodeType,
  INodeTypeDescription,
  IWebhookFunctions,
  IWebhookResponseData,
} from 'n8n-workflow';
import { NodeConnectionTypes } from 'n8n-workflow';
import { operations } from './operations';
import { promptFields } from './prompt-fields';
import { recordFields } from './record-fields';
import { failureOf, nodeErrorOf } from './request';
import { resume, resumeWebhooks } from './resume';

/** Runs prompts and jobs with berth. */
export class Berth implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Berth',
    name: 'berth',
    icon: { light: 'file:../../icons/berth.svg', dark: 'file:../../icons/berth.dark.svg' },
    group: ['transform'],
    version: [1],
    subtitle: '={{ $parameter["operation"] + ": " + $parameter["resource"] }}',
    description: 'Run prompts and durable jobs with the Claude Code CLI',
    defaults: { name: 'Berth' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main],
    usableAsTool: true,
    credentials: [{ name: 'berthApi', required: true }],
    waitingNodeTooltip: 'The execution continues when berth reports the end of the job',
    webhooks: resumeWebhooks,
    properties: [
      {
        displayName: 'Resource',
        name: 'resource',
        type: 'options',
        noDataExpression: true,
        default: 'prompt',
        options: [
          { name: 'Job', value: 'job' },
          { name: 'Prompt', value: 'prompt' },
          { name: 'Session', value: 'session' },
        ],
      },
      {
        displayName: 'Operation',
        name: 'operation',
        type: 'options',
        noDataExpression: true,
        default: 'ask',
        displayOptions: { show: { resource: ['prompt'] } },
        options: [
          {
            name: 'Ask',
            value: 'ask',
            action: 'Ask a prompt',
            description: 'Run a prompt and return its answer',
          },
          {
            name: 'Ask and Stream',
            value: 'askStream',
            action: 'Ask a prompt and stream its answer',
            description: 'Run a prompt and pass its text on while it is written',
          },
        ],
      },
      {
        displayName: 'Operation',
        name: 'operation',
        type: 'options',
        noDataExpression: true,
        default: 'start',
        displayOptions: { show: { resource: ['job'] } },
        options: [
          {
            name: 'Cancel',
            value: 'cancel',
            action: 'Cancel a job',
            description: 'Cancel a job that has not ended',
          },
          {
            name: 'Get',
            value: 'get',
            action: 'Get a job',
            description: 'Return a job, and its result if the job has ended',
          },
          {
            name: 'Get Many',
            value: 'getAll',
            action: 'Get many jobs',
            description: 'List jobs, the newest first',
          },
          {
            name: 'Start',
            value: 'start',
            action: 'Start a job',
            description:
              'Start a prompt that survives restarts and limits; the workflow continues at once',
          },
          {
            name: 'Start and Wait',
            value: 'startAndWait',
            action: 'Start a job and wait for its end',
            description: 'Start a job; the workflow sleeps until berth reports the end of the job',
          },
        ],
      },
      {
        displayName: 'Operation',
        name: 'operation',
        type: 'options',
        noDataExpression: true,
        default: 'getAll',
        displayOptions: { show: { resource: ['session'] } },
        options: [
          {
            name: 'Delete',
            value: 'delete',
            action: 'Delete a session',
            description: 'Remove a session with its transcript',
          },
          {
            name: 'Get',
            value: 'get',
            action: 'Get a session',
            description: 'Return one session',
          },
          {
            name: 'Get Many',
            value: 'getAll',
            action: 'Get many sessions',
            description: 'List sessions, the most recently used first',
          },
          {
            name: 'Interrupt',
            value: 'interrupt',
            action: 'Interrupt a session',
            description: 'Interrupt the running turn of a session',
          },
        ],
      },
      ...promptFields,
      ...recordFields,
    ],
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    const output: INodeExecutionData[] = [];
    for (const i of this.getInputData().keys()) {
      const resource = this.getNodeParameter('resource', i) as string;
      const operation = this.getNodeParameter('operation', i) as string;
      try {
        const answer = await operations[resource][operation](this, i);
        for (const json of Array.isArray(answer) ? answer : [answer]) {
          output.push({ json, pairedItem: { item: i } });
        }
      } catch (error) {
        if (!this.continueOnFail()) throw nodeErrorOf(this, error, i);
        const item = { json: failureOf(error), pairedItem: { item: i } };
        // Only an item with `error` goes to an error output. Elsewhere n8n replaces the JSON of such an item.
        const hasOutput = this.getNode().onError === 'continueErrorOutput';
        output.push(hasOutput ? { ...item, error } : item);
      }
    }
    return [output];
  }

  /** berth reports the end of a job. */
  async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
    return resume(this);
  }
}
