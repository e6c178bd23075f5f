/**
 * The gateway as a process of its own, for bench/gateway.ts: prints its URL, and serves until its standard
 * input ends. Arguments: the origin of the git server, the token.
 */
import { Registry } from 'prom-client';
import { startGateway } from '../init/gateway/gateway.ts';
import { gatewayDefinitions, gatewayOf } from '../init/gateway/gateway-settings.ts';
import { readSettings } from '../shared/config.ts';
import { silent } from '../shared/log.ts';

const [origin = '', token = ''] = process.argv.slice(2);
const { settings } = readSettings(gatewayDefinitions, {
  BERTH_GATEWAY_PUSH: 'bench/gateway',
  BERTH_GATEWAY_LISTEN: '127.0.0.1:0',
});
const config = gatewayOf(settings);
if (!config) throw new Error('the gateway is off');
const gateway = await startGateway({
  config,
  home: { origin, path: 'bench/claude' },
  reserved: [],
  login: () => ({ username: 'x', token, app: undefined }),
  githubApiUrl: undefined,
  tokenPlace: 'BERTH_GIT_TOKEN',
  registry: new Registry(),
  log: silent,
});
process.stdout.write(`${gateway.url}\n`);
process.stdin.resume().on('end', () => gateway.stop().then(() => process.exit(0)));
