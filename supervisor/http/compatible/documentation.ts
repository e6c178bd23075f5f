/** What the OpenAPI document says about the APIs for other clients, besides their schemas. */

const parameters = [
  {
    name: 'x-api-key',
    in: 'header',
    required: false,
    description: 'The token, if there is no `Authorization: Bearer`',
    schema: { type: 'string' },
  },
];

const answerHeaders = {
  'berth-warning': {
    description: 'Fields of the request that have no effect here',
    schema: { type: 'string' },
  },
};

const question = 'Which skills do you have?';
const messages = [{ role: 'user', content: question }];

/** By API. */
export const compatibleDocumentation = {
  messages: {
    ...{ parameters, answerHeaders },
    examples: { question: { value: { model: 'berth', max_tokens: 4_096, messages } } },
  },
  chat: {
    ...{ parameters, answerHeaders },
    examples: { question: { value: { model: 'berth', messages } } },
  },
  responses: {
    ...{ parameters, answerHeaders },
    examples: { question: { value: { model: 'berth', input: question } } },
  },
};
