/**
 * Measures new contexts with overrides: one after the other and all at once, each with a working directory of its
 * own. The rival is the server that spawns `claude -p`, with the same options as flags.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sendPrompt } from '../test/support/prompt.ts';
import { makePlace } from './bare.ts';
import { expectAnswer, startBerth, warmWorker } from './berth.ts';
import { compete } from './compete.ts';
import { type Figure, quantile } from './report.ts';
import { askSpawnServer, startSpawnServer } from './spawn-server.ts';

/** The share of the spawning server's time. */
const target = 0.3;

const said = 'Say it. [[say ok]]';
const structured = 'Say it. [[tool StructuredOutput {"answer":"ok"}]]';
const schema = {
  type: 'object',
  properties: { answer: { type: 'string' } },
  required: ['answer'],
};

interface Override {
  name: string;
  fields: Record<string, unknown>;
  flags: string[];
  prompt?: string;
}

const single: Override[] = [
  { name: 'model', fields: { model: 'sonnet' }, flags: ['--model=sonnet'] },
  {
    name: 'append_system_prompt',
    fields: { append_system_prompt: 'Be brief.' },
    flags: ['--append-system-prompt=Be brief.'],
  },
  { name: 'allowed_tools', fields: { allowed_tools: ['Read'] }, flags: ['--tools=Read'] },
  {
    name: 'output_schema',
    fields: { output_schema: schema },
    flags: [`--json-schema=${JSON.stringify(schema)}`],
    prompt: structured,
  },
];

const overrides: Override[] = [
  ...single,
  {
    name: 'all of these',
    fields: Object.assign({}, ...single.map(({ fields }) => fields)),
    flags: single.flatMap(({ flags }) => flags),
    prompt: structured,
  },
];

export async function compareOverrides(
  directory: string,
  apiUrl: string,
  rounds: number,
): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const profiles = join(directory, 'profiles.yaml');
  const fields = Object.keys(Object.assign({}, ...single.map((each) => each.fields)));
  const profile = `{warm: 1, working_directory: session, overrides: [${fields}]}`;
  await writeFile(profiles, `profiles: {default: ${profile}}\n`);
  const settings = {
    ANTHROPIC_BASE_URL: apiUrl,
    BERTH_PROFILES_FILE: profiles,
    // Idle sessions of earlier rounds would keep the places of the spares for a minute.
    BERTH_WORKER_IDLE_TIMEOUT: '2s',
  };
  const berth = await startBerth(join(directory, 'berth-overrides'), settings, cleanup);
  const place = await makePlace(join(directory, 'spawning-overrides'), apiUrl);
  const spawning = await startSpawnServer(place, cleanup);
  const rivals = overrides.flatMap(({ name, fields, flags, prompt = said }) => [
    { name: `spawning server, ${name}`, run: () => askSpawnServer(spawning, prompt, flags) },
    {
      name: `berth, ${name}`,
      ready: () => warmWorker(berth, 2),
      run: async () => expectAnswer(await sendPrompt(berth, { prompt, ...fields })),
    },
  ]);
  const times = await compete(rivals, rounds);
  const median = (name: string): number => quantile(times.get(name) ?? [], 0.5);
  return overrides.flatMap(({ name }) => {
    const [theirs, ours] = [median(`spawning server, ${name}`), median(`berth, ${name}`)];
    return [
      { name: `spawning server, new context, ${name}, p50`, value: theirs, unit: 'ms' },
      { name: `berth, new context, ${name}, p50`, value: ours, unit: 'ms' },
      { name: `berth / spawning server, ${name}`, value: ours / theirs, unit: '', target },
    ];
  });
}
