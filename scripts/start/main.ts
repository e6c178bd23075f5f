/**
 * `npm start`: runs berth on this machine. It starts a git server with a sample `.claude`
 * repository (or uses your repository), runs berth-init on a new volume, starts `berth serve` with
 * the real CLI, and prints a curl line.
 * Invariants: progress goes to standard error, and only an answer to standard output. On every exit
 * all started programs are stopped and the volume is removed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareModel } from './model.ts';
import { help, readOptions, type StartOptions } from './options.ts';
import { initVolume, prepareRepository, startSupervisor } from './parts.ts';
import { ask, curlLine } from './prompt.ts';
import { shellVariables } from './shell.ts';

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function main(options: StartOptions): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => stop.abort());
  }
  const directory = await mkdtemp(join(tmpdir(), 'berth-start-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));

  const repository = await prepareRepository(options, directory, cleanup);
  say(`repository  ${repository.description}`);
  const model = await prepareModel(options, process.env, cleanup);
  say(`model       ${model.description}`);
  const shell = shellVariables(process.env, options.repository !== undefined);
  for (const { name, reason } of shell.notTaken) say(`not taken   ${name}: ${reason}`);
  const taken = Object.keys(shell.settings).sort();
  if (taken.length > 0) say(`settings    ${taken.join(', ')}`);
  if (stop.signal.aborted) return;

  const report = await initVolume(
    options,
    { ...shell.settings, ...repository.environment },
    directory,
    say,
  );
  say(`volume      ${report}`);
  if (stop.signal.aborted) return;

  const server = await startSupervisor(
    directory,
    {
      ...shell.settings,
      ...shell.cli,
      ...model.environment,
      BERTH_CREDENTIALS_SOURCE: options.credentials,
    },
    say,
  );
  cleanup.defer(server.stop);
  say(`supervisor  ${server.url} with Claude Code ${server.cliVersion}`);
  say(`metrics     ${server.metricsUrl}/metrics`);

  if (options.ask !== undefined) {
    const answer = await ask(server, options.ask, stop.signal);
    process.stdout.write(`${JSON.stringify(answer.body, null, 2)}\n`);
    if (answer.status !== 200) process.exitCode = 1;
    return;
  }
  say(`\nReady. Send a prompt:\n\n${curlLine(server)}\n`);
  if (model.standIn) {
    say(`There is no account in the environment, so a stand-in answers instead of the model.
Every answer starts with
[stand-in]. Everything else is real. To use Claude, stop with Ctrl-C and start again with
ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN set, or with -- --credentials FILE.`);
  }
  say('Ctrl-C stops it.');
  const how = await Promise.race([aborted(stop.signal), server.ended]);
  if (how !== undefined) throw new Error(`the supervisor ended unexpectedly (${how})`);
  say('\nstopping');
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

try {
  const options = readOptions(process.argv.slice(2), process.env);
  if (options.help) process.stdout.write(help);
  else await main(options);
} catch (error) {
  say(`cannot start: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
