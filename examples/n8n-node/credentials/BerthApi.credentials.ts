import type {
  IAuthenticateGeneric,
  ICredentialTestRequest,
  ICredentialType,
  Icon,
  INodeProperties,
} from 'n8n-workflow';

/** The address of a berth and a token that `berth token NAME` made. The test runs no prompt. */
export class BerthApi implements ICredentialType {
  name = 'berthApi';

  displayName = 'Berth API';

  icon: Icon = { light: 'file:../icons/berth.svg', dark: 'file:../icons/berth.dark.svg' };

  documentationUrl = 'https://github.com/example/n8n-nodes-berth?tab=readme-ov-file#credentials';

  properties: INodeProperties[] = [
    {
      displayName: 'URL',
      name: 'url',
      type: 'string',
      default: 'http://berth:8080',
      required: true,
      placeholder: 'e.g. http://berth.berth.svc:8080',
      description: 'The address of berth, without a path of its API',
    },
    {
      displayName: 'Token',
      name: 'token',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      required: true,
      description: 'A token that "berth token NAME" printed',
    },
  ];

  authenticate: IAuthenticateGeneric = {
    type: 'generic',
    properties: {
      headers: { Authorization: '=Bearer {{$credentials.token}}' },
    },
  };

  test: ICredentialTestRequest = {
    request: {
      baseURL: '={{$credentials.url.replace(/\\/+$/, "")}}',
      url: '/v1/status',
    },
  };
}
