/** The fields of the operations on jobs and sessions that exist. */
import type { INodeProperties } from 'n8n-workflow';

const many = { resource: ['job', 'session'], operation: ['getAll'] };

export const recordFields: INodeProperties[] = [
  {
    displayName: 'Job ID',
    name: 'jobId',
    type: 'string',
    default: '',
    required: true,
    placeholder: 'e.g. job_019c...',
    description: 'The ID of the job, as its start returned it',
    displayOptions: { show: { resource: ['job'], operation: ['get', 'cancel'] } },
  },
  {
    displayName: 'Wait (Seconds)',
    name: 'waitSeconds',
    type: 'number',
    default: 0,
    typeOptions: { minValue: 0, maxValue: 300 },
    description: 'How long to wait for the end of the job; 0 returns the job as it is',
    displayOptions: { show: { resource: ['job'], operation: ['get'] } },
  },
  {
    displayName: 'Limit Wait (Hours)',
    name: 'limitWaitHours',
    type: 'number',
    default: 24,
    typeOptions: { minValue: 0 },
    description:
      'After this time the workflow continues with the job as it was started, and the job runs on; 0 waits without a limit',
    displayOptions: { show: { resource: ['job'], operation: ['startAndWait'] } },
  },
  {
    displayName: 'Session ID',
    name: 'id',
    type: 'string',
    default: '',
    required: true,
    description: 'The session_id of an answer',
    displayOptions: {
      show: { resource: ['session'], operation: ['get', 'delete', 'interrupt'] },
    },
  },
  {
    displayName: 'Return All',
    name: 'returnAll',
    type: 'boolean',
    default: false,
    description: 'Whether to return all results or only up to a given limit',
    displayOptions: { show: many },
  },
  {
    displayName: 'Limit',
    name: 'limit',
    type: 'number',
    default: 50,
    typeOptions: { minValue: 1 },
    description: 'Max number of results to return',
    displayOptions: { show: { ...many, returnAll: [false] } },
  },
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add filter',
    default: {},
    displayOptions: { show: many },
    options: [
      {
        displayName: 'Profile',
        name: 'profile',
        type: 'string',
        default: '',
        description: 'Only results of this profile',
      },
      {
        displayName: 'State',
        name: 'state',
        type: 'multiOptions',
        default: [],
        description: 'Only jobs in these states; not for sessions',
        options: [
          { name: 'Cancelled', value: 'cancelled' },
          { name: 'Expired', value: 'expired' },
          { name: 'Failed', value: 'failed' },
          { name: 'Parked', value: 'parked' },
          { name: 'Queued', value: 'queued' },
          { name: 'Running', value: 'running' },
          { name: 'Scheduled', value: 'scheduled' },
          { name: 'Succeeded', value: 'succeeded' },
        ],
      },
    ],
  },
];
