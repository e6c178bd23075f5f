/**
 * The entry point: `berth serve` and the other commands.
 * Invariant: apart from config.ts, only this file of the supervisor reads the environment, and only
 * this file exits.
 */
import { parseArgs } from 'node:util';
import { asBerthError, BerthError, messageOf } from '../shared/errors.ts';
import { neverShow, redact } from '../shared/redact.ts';
import { version } from '../shared/version.ts';
import { readCommandConfig, readLoginConfig } from './config.ts';
import { callAdmin } from './http/call-admin.ts';
import { callJobs } from './http/call-jobs.ts';
import { readToken } from './http/call-server.ts';
import { makeToken, tokenLine } from './http/tokens.ts';
import { makeWebhookSecret } from './jobs/callbacks/webhook-secrets.ts';
import { logIn } from './login/log-in.ts';
import { serve } from './serve.ts';

const help = `berth ${version}: the Claude Code CLI as a service

  berth serve         accept prompts over HTTP; settings come from the environment
  berth write-back    keep a Secret as new as the CLI's login; runs beside the supervisor
  berth login         log the CLI in, at a terminal (kubectl exec -it), and store the login on the volume
  berth doctor [--json]
                      check everything that berth needs, and print problems with their remedies
  berth token NAME    make an API token: prints it, and its line for BERTH_API_TOKENS_FILE
  berth token --webhook
                      make a secret that signs callbacks of jobs, for BERTH_WEBHOOK_SECRET_FILE
  berth pause [--reason TEXT]
                      refuse new prompts and interrupt running prompts; needs an API token, from
                      BERTH_API_TOKEN_FILE, BERTH_API_TOKEN or standard input
  berth resume        accept prompts again; needs an API token too
  berth jobs list [--state STATES] [--json]
                      list the jobs of an API token; STATES as queued,parked
  berth jobs show|cancel|retry ID
                      show a job with its result, cancel a job, or run a failed job again
  berth --version
  berth --help
`;

type Options = ReturnType<typeof readArguments>['values'];

interface Command {
  /** The argument after the name, if there is one. */
  argument?: string;
  /** Whether these options replace the argument. */
  replaces?: (options: Options) => boolean;
  /** Whether a second argument may follow. */
  second?: true;
  /** @returns the exit code */
  run(options: Options, argument: string, second?: string): Promise<number>;
}

const commands: Record<string, Command> = {
  serve: { run: () => serve(process.env, (code) => process.exit(code)) },
  'write-back': {
    run: async () =>
      (await import('./write-back/command.ts')).writeBack(process.env, (code) =>
        process.exit(code),
      ),
  },
  login: { run: async () => print(await logIn(readLoginConfig(process.env), process)) },
  doctor: { run: ({ json }) => doctor(json) },
  token: {
    argument: 'NAME',
    replaces: ({ webhook }) => webhook === true,
    run: async ({ webhook }, name) => (webhook ? printWebhookSecret() : printToken(name)),
  },
  pause: { run: ({ reason }) => pauseOrResume('pause', reason) },
  resume: { run: () => pauseOrResume('resume') },
  jobs: { argument: 'ACTION', second: true, run: jobs },
};

async function main(): Promise<number> {
  const { values, positionals } = readArguments();
  const [name = '', argument, second, ...rest] = positionals;
  if (values.version) return print(`${version}\n`);
  if (values.help) return print(help);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  const wants = command?.argument !== undefined && !command.replaces?.(values);
  const isMore = rest.length > 0 || (second !== undefined && !command?.second);
  const fits = !isMore && (argument !== undefined) === wants;
  if (command && fits) return command.run(values, argument ?? '', second);
  process.stderr.write(help);
  return 64;
}

/** @throws BerthError `config_invalid` for an unknown option */
function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        reason: { type: 'string' },
        json: { type: 'boolean' },
        webhook: { type: 'boolean' },
        state: { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new BerthError('config_invalid', `cannot run: ${messageOf(error)}\n\n${help}`);
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function printToken(name: string): number {
  const token = makeToken();
  const line = tokenLine(name, token);
  return print(
    `Give this token to the caller; it is not shown again:\n${token}\n\nAdd this line to the file or Secret that BERTH_API_TOKENS_FILE names:\n${line}\n`,
  );
}

/** Prints the secret alone, so that the output can be written to a file. */
function printWebhookSecret(): number {
  return print(`${makeWebhookSecret()}\n`);
}

async function doctor(json = false): Promise<number> {
  // Loaded on demand, so that the server starts sooner.
  const { diagnose } = await import('./doctor/doctor.ts');
  const { tableOf } = await import('./doctor/table.ts');
  const { diagnosis, exitCode } = await diagnose(process.env);
  const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR;
  print(json ? `${JSON.stringify(diagnosis, undefined, 2)}\n` : tableOf(diagnosis, coloured));
  return exitCode;
}

async function pauseOrResume(command: 'pause' | 'resume', reason?: string): Promise<number> {
  const { httpListen, apiToken } = readCommandConfig(process.env);
  const token = apiToken ?? (await readToken(process.stdin));
  neverShow(token);
  return print(await callAdmin({ command, reason, token, at: httpListen }));
}

async function jobs({ state, json }: Options, action: string, id?: string): Promise<number> {
  const { httpListen, apiToken } = readCommandConfig(process.env);
  const token = apiToken ?? (await readToken(process.stdin));
  neverShow(token);
  return print(await callJobs({ action, id, state, json, token, at: httpListen }));
}

try {
  process.exit(await main());
} catch (thrown) {
  process.stderr.write(`${redact(asBerthError(thrown).message)}\n`);
  process.exit(asBerthError(thrown).exitCode);
}
