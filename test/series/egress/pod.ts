/**
 * Run inside of the namespace: init and the real CLI one after the other, as the pod has them, with the
 * hosts open that the arguments name, and as many of the steps. Its output is one JSON object: what came of each step.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { hosts } from '../../../shared/hosts.ts';
import { cliEnvironment } from '../../../supervisor/claude/environment.ts';
import { compiledCode } from '../../support/programs.ts';
import { bareAddress, openNetwork } from './network.ts';
import { certificateAuthority, gitToken, repository, startStandIns } from './stand-ins.ts';

interface Ended {
  code: number | null;
  output: string;
}

interface Answer {
  is_error: boolean;
  result: string;
}

export interface Outcome {
  init?: Ended;
  /** The same with a token that GitHub does not know. */
  wrongToken?: Ended;
  /** With a CLI to fetch from npm's registry, onto an empty volume. */
  firstCli?: Ended;
  /** The same where an earlier one is on the volume, from a host on loopback. */
  nextCli?: Ended;
  /** A prompt with a login whose access token is over. */
  prompt?: Answer;
  /** Whether the token host of CLIs of 2.0 can be reached, by a request of Node in place of such a CLI. */
  olderTokenHost?: boolean;
  /** What a tool got that tried what is not on the list. */
  tool?: Answer;
  /** What was refused before that, and by it; and how many connections in all, by the kernel's count. */
  refused: { before: readonly string[]; byTool: readonly string[]; counted: number };
}

export type Step = Exclude<keyof Outcome, 'refused'>;

const elsewhere = 'elsewhere.example';
/** Another host, an address without a name, another port of a host of the list, a name that there is not. */
const unlisted = [
  `${elsewhere}/443`,
  `${bareAddress}/8443`,
  'github.com/22',
  'nowhere.example/443',
];
const [directory = '', open = '', steps = ''] = process.argv.slice(2);
const program = (path: string) => join(import.meta.dirname, '../../..', path);

const network = await openNetwork(
  [...hosts.map(({ host }) => host), elsewhere],
  open.split(','),
  directory,
);
const standIns = await startStandIns(network.addresses, directory);
const config = makeDirectory('config');
const home = makeDirectory('home');
writeFileSync(join(directory, 'credentials.json'), standIns.expiredLogin);

const environment = {
  PATH: process.env.PATH ?? '',
  HOME: home,
  ...compiledCode,
  NODE_EXTRA_CA_CERTS: certificateAuthority,
};

function makeDirectory(name: string): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  return path;
}

async function run(command: string, args: string[], env: Record<string, string>): Promise<Ended> {
  const child = spawn(command, args, { env, cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const [[code], output, errors] = await Promise.all([
    once(child, 'exit'),
    text(child.stdout),
    text(child.stderr),
  ]);
  clearTimeout(timer);
  return { code, output: output + errors };
}

function init(token: string, volume: string, more: Record<string, string> = {}) {
  return run(process.execPath, [program('dist/berth-init.cjs')], {
    ...environment,
    BERTH_REPO: repository,
    BERTH_GIT_TOKEN: token,
    BERTH_CONFIG_DIR: volume,
    BERTH_CREDENTIALS_SOURCE: join(directory, 'credentials.json'),
    // Enough for all attempts, also on a slow machine.
    BERTH_TIMEOUT: '30s',
    BERTH_UID: String(process.getuid?.()),
    BERTH_GID: String(process.getgid?.()),
    ...more,
  });
}

function initWithCli(volume: string, cli: Record<string, string>) {
  return init(gitToken, volume, cli);
}

async function replaceCli(volume: string): Promise<Ended> {
  const { code, output } = await initWithCli(volume, standIns.cli.earlier);
  if (code !== 0) throw new Error(`the earlier CLI is not on the volume: ${output}`);
  return initWithCli(volume, standIns.cli.wanted);
}

async function ask(prompt: string): Promise<Answer> {
  const args = ['-p', '--output-format', 'json', '--allowedTools', 'Bash', '--', prompt];
  const inherited = { ...environment, CLAUDE_CODE_MAX_RETRIES: '0' };
  const env = cliEnvironment(inherited, config, 'egress');
  const { output } = await run(program('node_modules/.bin/claude'), args, env);
  const last = output.split('\n').find((line) => line.startsWith('{'));
  return last ? JSON.parse(last) : { is_error: true, result: output };
}

/** In this process, which resolves as all in the namespace do. */
async function reaches(host: string): Promise<boolean> {
  const script = `fetch('https://${host}').then(() => process.exit(0), () => process.exit(1))`;
  return (await run(process.execPath, ['-e', script], environment)).code === 0;
}

writeFileSync(join(config, '.credentials.json'), standIns.expiredLogin, { mode: 0o600 });
const outcome: Outcome = { refused: { before: [], byTool: [], counted: 0 } };
const wanted = (step: Step) => steps.split(',').includes(step);
if (wanted('init')) outcome.init = await init(gitToken, config);
if (wanted('wrongToken')) outcome.wrongToken = await init('another-token', makeDirectory('other'));
// Side by side, for each waits some seconds before it gives up.
const [firstCli, nextCli] = await Promise.all([
  wanted('firstCli') ? initWithCli(makeDirectory('first'), standIns.cli.wanted) : undefined,
  wanted('nextCli') ? replaceCli(makeDirectory('next')) : undefined,
]);
Object.assign(outcome, { firstCli, nextCli });
if (wanted('prompt')) outcome.prompt = await ask('Good morning');
if (wanted('olderTokenHost')) outcome.olderTokenHost = await reaches('console.anthropic.com');
outcome.refused.before = await network.log();
if (wanted('tool')) {
  const connect = `timeout 10 bash -c "exec 3<>/dev/tcp/$to && echo connected"`;
  const command = `for to in ${unlisted.join(' ')}; do ${connect}; done 2>&1; true`;
  outcome.tool = await ask(`[[tool Bash ${JSON.stringify({ command })}]]`);
}
const { before } = outcome.refused;
outcome.refused.counted = network.refused();
outcome.refused.byTool = (await network.log()).filter((line) => !before.includes(line));
process.stdout.write(`${JSON.stringify(outcome)}\n`);
await standIns.close();
await network.close();
