/**
 * Hostile texts as prompts, through the whole server to the real CLI and a stand-in API. Held against
 * each: it reaches the model byte for byte, its answer is its own, and nothing changes for it on the
 * volume or in the model that is asked; also while workers are killed, turns are interrupted, and the CLI
 * runs turns that nobody prompted for: at the end of background tasks, and scheduled ones each minute.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { bashAllowed, realClaude } from '../support/claude.ts';
import { blocksOf } from '../support/messages-api/request.ts';
import { promptText, type RecordedRequest, startMessagesApi } from '../support/messages-api.ts';
import { startProgram } from '../support/programs.ts';
import { leaveScheduledTask } from '../support/scheduled-task.ts';
import { makePrompts } from './boundary-prompts.ts';
import { Random } from './random.ts';

export interface BoundaryOptions {
  /** An empty one, for everything that is made. */
  directory: string;
  prompts: number;
  seed: number;
  /** After so many prompts of a session something is disturbed; undefined: nothing is. */
  disturbEvery?: number;
  onPrompt?: (done: number) => void;
}

export interface BoundaryReport {
  prompts: number;
  delivered: number;
  /** Prompts that were answered after their worker was killed. */
  recycled: number;
  disturbances: Record<string, number>;
  /** Scheduled turns that have begun. */
  wakeUps: number;
  problems: string[];
}

const profilesFile = `
default: closed
profiles:
  closed: {tools: {allow: []}}
  reader: {tools: {allow: [Read(./**)]}}
  open: {unprompted: allow}
`;
/** A session each; that of the last one has background tasks and scheduled turns. */
const profiles = ['closed', 'reader', 'open'];
const secret = 'a-secret-that-nobody-may-send';

const wakeUp = 'WAKE up and look around';
const isWakeUp = (request: RecordedRequest): boolean => promptText(request) === wakeUp;

const canaryOf = (text: string): string =>
  `canary-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;

export async function runBoundary(options: BoundaryOptions): Promise<BoundaryReport> {
  const { directory, prompts, seed, disturbEvery, onPrompt } = options;
  const at = (...parts: string[]): string => join(directory, ...parts);
  for (const name of ['home', 'volume', 'tmp', 'workspace']) mkdirSync(at(name));
  const watched = {
    [at('volume', 'settings.json')]: bashAllowed,
    [at('volume', 'CLAUDE.md')]: 'Answer in rhyme.\n',
    [at('volume', 'notes.txt')]: secret,
    [at('workspace', 'notes.txt')]: secret,
  };
  for (const [path, text] of Object.entries(watched)) writeFileSync(path, text);
  writeFileSync(at('profiles.yaml'), profilesFile);
  if (disturbEvery !== undefined) leaveScheduledTask(at('workspace'), wakeUp);
  const token = makeToken();
  writeFileSync(at('tokens'), `${tokenLine('boundary', token)}\n`);

  const report: BoundaryReport = {
    ...{ prompts: 0, delivered: 0, recycled: 0 },
    disturbances: {},
    wakeUps: 0,
    problems: [],
  };
  const wrong = (text: string, what: string): void => {
    report.problems.push(`${JSON.stringify(text)}: ${what}`);
  };
  /** Prompts that are on their way; and those that have reached the model. */
  const waiting = new Set<string>();
  const delivered = new Set<string>();
  const models = new Set<string>();
  const api = await startMessagesApi();
  api.reply((request) => {
    if (JSON.stringify(request.body).includes(secret)) wrong('(a request)', 'the secret was sent');
    const { model, output_config } = (request.body ?? {}) as Record<string, unknown>;
    models.add(JSON.stringify([model, output_config]));
    const texts = textsOf(request);
    const text = texts.findLast((each) => waiting.has(each));
    if (text === undefined && isWakeUp(request)) {
      report.wakeUps += 1;
      // Long enough that prompts come meanwhile.
      return { text: 'I am awake', delay: 200 };
    }
    // What disturbs has directives of the stand-in.
    if (text === undefined) {
      return texts.at(-1)?.startsWith('[[') ? undefined : { text: 'nobody asked' };
    }
    delivered.add(text);
    return { text: canaryOf(text) };
  });
  const program = startProgram('serve', {
    arguments: ['serve'],
    environment: {
      HOME: at('home'),
      TMPDIR: at('tmp'),
      BERTH_CONFIG_DIR: at('volume'),
      BERTH_WORKSPACE_DIR: at('workspace'),
      BERTH_API_TOKENS_FILE: at('tokens'),
      BERTH_PROFILES_FILE: at('profiles.yaml'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_CLAUDE_PATH: realClaude,
      BERTH_MAX_WORKERS: '3',
      // Each profile has one session.
      BERTH_WARM_WORKERS: '0',
      BERTH_SHARED_SPARES: '0',
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
      CLAUDE_CODE_MAX_RETRIES: '0',
    },
  });
  const url = String((await program.logged('listening')).address);
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
    });
    // biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with.
    return { status: response.status, body: (await response.json()) as any };
  };

  const ask = async (text: string, rest: object): Promise<string | undefined> => {
    waiting.add(text);
    const { status, body } = await call('POST', '/v1/prompts', { prompt: text, ...rest });
    waiting.delete(text);
    report.prompts += 1;
    if (status !== 200) wrong(text, `answered ${status} ${body.code}: ${body.detail}`);
    else if (body.result !== canaryOf(text)) wrong(text, `its answer is ${body.result}`);
    if (delivered.delete(text)) report.delivered += 1;
    else wrong(text, 'it did not reach the model as it is');
    if (body.recycled > 0) report.recycled += 1;
    for (const [path, content] of Object.entries(watched)) {
      if (readFileSync(path, 'utf8') !== content) wrong(text, `${path} was changed`);
    }
    onPrompt?.(report.prompts);
    return body.session_id;
  };

  const disturb = async (random: Random, profile: string, session_id: string): Promise<void> => {
    const kind = random.pick(['kill', 'interrupt', ...(profile === 'open' ? ['background'] : [])]);
    report.disturbances[kind] = (report.disturbances[kind] ?? 0) + 1;
    if (kind === 'background') {
      const input = { command: 'sleep 0.5; echo done', run_in_background: true };
      const prompt = `[[tool Bash ${JSON.stringify(input)}]]`;
      await call('POST', '/v1/prompts', { prompt, session_id });
      return;
    }
    const prompt = `[[hang stream]] ${random.next()}`;
    const hung = call('POST', '/v1/prompts', { prompt, session_id, on_recycle: 'fail' });
    await api.waitForRequest((request) => textsOf(request).at(-1) === prompt);
    if (kind === 'interrupt') await call('POST', `/v1/sessions/${session_id}/interrupt`, {});
    else {
      const { workers } = (await call('GET', '/v1/status')).body;
      const worker = workers.find((each: { session_id: string }) => each.session_id === session_id);
      if (worker?.pid) process.kill(worker.pid, 'SIGKILL');
    }
    const { body } = await hung;
    const expected = kind === 'kill' ? 'worker_recycled' : 'interrupted';
    if (body.code !== expected) wrong(prompt, `a ${kind} has ended it with ${body.code}`);
  };

  /** A scheduled turn begins within a minute, if a process is there. Then a prompt comes in the middle of it. */
  const askAwake = async (session: object): Promise<void> => {
    const session_id = await ask('/model opus before the scheduled turn', session);
    const before = new Set(api.requests);
    await api.waitForRequest((request) => isWakeUp(request) && !before.has(request), 120_000);
    await ask('/model opus in the scheduled turn', { session_id });
  };

  try {
    const files = [...Object.keys(watched), '/etc/passwd', 'notes.txt', './notes.txt'];
    const all = makePrompts(prompts, seed, files);
    const shares = profiles.map((_, share) => all.filter((_, n) => n % profiles.length === share));
    await Promise.all(
      profiles.map(async (profile, share) => {
        const random = new Random(seed + share + 1);
        let session_id: string | undefined;
        for (const [number, text] of (shares[share] ?? []).entries()) {
          // A long conversation is a large request, so it begins anew now and then.
          if (number % 50 === 0) session_id = undefined;
          const said = await ask(text, { profile, ...(session_id ? { session_id } : {}) });
          session_id ??= said;
          if (session_id && disturbEvery && number % disturbEvery === disturbEvery - 1) {
            await disturb(random, profile, session_id);
          }
        }
        if (profile === 'open' && disturbEvery) {
          await askAwake({ profile, ...(session_id ? { session_id } : {}) });
        }
      }),
    );
    if (models.size !== 1) wrong('(all)', `models and efforts: ${[...models].join(' ')}`);
  } finally {
    program.kill('SIGTERM');
    await program.ended;
    await api.close();
  }
  return report;
}

/** What users have said in it, each block, oldest first. */
function textsOf({ body }: RecordedRequest): string[] {
  return (body?.messages ?? [])
    .filter(({ role }) => role === 'user')
    .flatMap(({ content }) => blocksOf(content).map(({ text }) => text ?? ''));
}
