import {
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { Transcripts } from '../../../../supervisor/sessions/transcripts.ts';
import { makeSurroundings } from '../../../support/claude.ts';
import { testDirectory } from '../../../support/directory.ts';
import { idOf } from '../../../support/session-record.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const one = idOf(1);
const two = idOf(2);

function open(t: Test) {
  const directory = testDirectory(t, { config: {}, tmp: {}, elsewhere: {} });
  const write = (path: string, bytes = 1): void => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), Buffer.alloc(bytes, 'x'));
  };
  const transcripts = new Transcripts({
    configDirectory: join(directory, 'config'),
    temporaryDirectory: join(directory, 'tmp'),
  });
  return {
    directory,
    write,
    transcripts,
    there: (path: string) => existsSync(join(directory, path)),
  };
}

t.test('a session goes from wherever the CLI keeps it, and another one stays', async (t) => {
  const { write, transcripts, there } = open(t);
  const places = (id: string) => [
    `config/projects/-work/${id}.jsonl`,
    `config/projects/-work/${id}/subagents/agent-1.jsonl`,
    `config/projects/-other/${id}/tool-results/1.txt`,
    `config/session-env/${id}/x`,
    `config/file-history/${id}/x`,
    `config/tasks/${id}/1.json`,
    `config/todos/${id}-agent-${id}.json`,
    `config/debug/${id}.txt`,
    `tmp/claude-${process.getuid?.()}/-work/${id}/tasks/1.output`,
  ];
  for (const path of [...places(one), ...places(two)]) write(path);
  await transcripts.remove(one, false);
  for (const path of places(one)) t.notOk(there(path), path);
  for (const path of places(two)) t.ok(there(path), path);
  await transcripts.remove(one, false);
});

t.test('the memory of a directory goes when that directory was the session’s alone', async (t) => {
  const { write, transcripts, there } = open(t);
  for (const id of [one, two]) write(`config/projects/-work/${id}.jsonl`);
  write('config/projects/-work/memory/MEMORY.md');
  write('config/projects/-other/memory/MEMORY.md');
  await transcripts.remove(one, true);
  t.ok(there('config/projects/-work/memory/MEMORY.md'), 'another session is still there');
  await transcripts.remove(two, true);
  t.notOk(there('config/projects/-work'));
  t.ok(there('config/projects/-other/memory/MEMORY.md'));
});

t.test('no symlink is followed, and nothing that is no id is removed', async (t) => {
  const { directory, write, transcripts, there } = open(t);
  write(`elsewhere/${one}.jsonl`);
  write(`elsewhere/${one}/keep`);
  mkdirSync(join(directory, 'config/projects'), { recursive: true });
  symlinkSync(join(directory, 'elsewhere'), join(directory, 'config/projects/-work'));
  symlinkSync(join(directory, 'elsewhere'), join(directory, 'config/session-env'));
  mkdirSync(join(directory, 'config/projects/-real'));
  symlinkSync(join(directory, 'elsewhere'), join(directory, `config/projects/-real/${one}`));
  await transcripts.remove(one, true);
  t.notOk(readdirSync(join(directory, 'config/projects')).includes('-real'), 'the link is gone');
  t.ok(there(`elsewhere/${one}.jsonl`));
  t.ok(there(`elsewhere/${one}/keep`));
  write('config/projects/-real/memory/x');
  for (const bad of ['', '.', '..', 'memory', '../..']) await transcripts.remove(bad, true);
  t.ok(there('config/projects/-real/memory/x'));
});

t.test('the total list has the same size for each session as the single query', async (t) => {
  const { write, transcripts } = open(t);
  t.strictSame(await transcripts.sizes(), { bytes: new Map(), failure: undefined });
  write(`config/projects/-work/${one}.jsonl`, 100_000);
  write(`config/projects/-work/${one}/tool-results/1.txt`, 50_000);
  write(`config/projects/-work/${two}.jsonl`, 1);
  write('config/projects/-work/memory/MEMORY.md', 100_000);
  const { bytes: sizes } = await transcripts.sizes();
  t.strictSame([...sizes.keys()].sort(), [one, two]);
  t.equal(sizes.get(one), await transcripts.sizeOf(one));
  t.ok((sizes.get(one) ?? 0) >= 150_000);
  t.equal(await transcripts.sizeOf(idOf(3)), 0);
});

t.test(
  'the CLI does not delete transcripts before berth, and deletes unknown transcripts later',
  async (t) => {
    const surroundings = await makeSurroundings(t);
    const projects = join(surroundings.config, 'projects/-unknown');
    mkdirSync(projects, { recursive: true });
    const plant = (id: string, days: number): string => {
      const path = join(projects, `${id}.jsonl`);
      writeFileSync(path, '{}\n');
      const seconds = Date.now() / 1_000 - days * 86_400;
      utimesSync(path, seconds, seconds);
      return path;
    };
    // By itself it would remove both after 30 days.
    const young = plant(one, 35);
    const old = plant(two, 50);
    const { prompt } = await startWithRealCli(t, {
      surroundings,
      settings: { BERTH_SESSION_RETENTION: '40d' },
    });
    await prompt('[[say one]]');
    await until('the old one is gone', () => !existsSync(old));
    t.ok(existsSync(young));
  },
);
