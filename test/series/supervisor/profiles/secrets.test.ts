/** A profile's login from a mounted Secret that is rotated while its prompts run, with the real CLI. */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeSurroundings } from '../../../support/claude.ts';
import { startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

/** As the kubelet mounts a Secret: a link through `..data`, which is swapped by a rename. */
function mount(directory: string, revision: number, key: string): void {
  const folder = `..revision_${revision}`;
  mkdirSync(join(directory, folder), { recursive: true });
  writeFileSync(join(directory, folder, 'key'), `${key}\n`);
  symlinkSync(folder, join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  if (revision === 1) symlinkSync(join('..data', 'key'), join(directory, 'key'));
}

t.test(
  'a rotated key renews idle processes; a turn that runs goes on with the old one',
  async (t) => {
    const surroundings = await makeSurroundings(t);
    const { api, workspace } = surroundings;
    const directory = join(workspace, '..', 'secret');
    mount(directory, 1, 'the-first-key-of-all');
    const path = join(directory, 'profiles.yaml');
    writeFileSync(
      path,
      `profiles: {keyed: {warm: 1, environment: {ANTHROPIC_API_KEY: {file: ${directory}/key}}}}\ndefault: keyed`,
    );
    const keys: unknown[] = [];
    api.reply(({ headers }) => {
      keys.push(headers['x-api-key']);
      return undefined;
    });
    const { prompt, call, log } = await startSupervisor(t, {
      surroundings,
      settings: { BERTH_PROFILES_FILE: path },
    });
    const pids = async (): Promise<number[]> => {
      const { body } = await call('GET', '/v1/status');
      return body.workers.map(({ pid }: { pid: number }) => pid);
    };
    const first = await prompt('[[say one]]');
    const before = await pids();
    const running = prompt('[[slow 1500]] [[say two]]', { session_id: first.body.session_id });
    await until('it runs', () => keys.length >= 2);
    mount(directory, 2, 'the-second-key-of-all');
    await log.logged('secrets_changed');
    t.match((await running).body, { result: 'two' });
    t.ok(keys.every((key) => key === 'the-first-key-of-all'));
    const next = await prompt('[[say three]]', { session_id: first.body.session_id });
    t.match(next.body, { result: 'three', session_id: first.body.session_id });
    t.equal(keys.at(-1), 'the-second-key-of-all');
    await until('none of the old ones is left', async () => {
      const now = await pids();
      return now.length > 0 && before.every((pid) => !now.includes(pid));
    });
    t.notMatch(log.text, /the-(first|second)-key/);
  },
);
