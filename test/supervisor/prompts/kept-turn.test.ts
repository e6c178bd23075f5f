import { appendFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pause } from '../../../shared/waiting.ts';
import { isKept } from '../../../supervisor/prompts/kept-turn.ts';
import { testDirectory } from '../../support/directory.ts';

const prompt = { type: 'user', uuid: 'prompt-1' };
const toolResult = { type: 'user', uuid: 'tool-1' };
const text = { type: 'assistant', uuid: 'answer-1' };
const summary = { type: 'summary' };

function transcript(t: Test, ...lines: object[]): string {
  const path = join(testDirectory(t), 'session.jsonl');
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return path;
}

t.test('a turn is kept if its prompt is followed by an answer', async (t) => {
  t.ok(await isKept(transcript(t, prompt, text), 'prompt-1'));
  t.ok(await isKept(transcript(t, prompt, text, summary), 'prompt-1'));
});

t.test('a turn without its prompt, or without the end of its answer, is not kept', async (t) => {
  const other = { type: 'user', uuid: 'prompt-2' };
  const transcripts: object[][] = [[], [text], [prompt], [prompt, text, toolResult], [other, text]];
  // Each of them is read again for a second.
  const kept = transcripts.map((lines) => isKept(transcript(t, ...lines), 'prompt-1'));
  t.same(await Promise.all(kept), [false, false, false, false, false]);
});

t.test('an answer that is written a moment later is awaited', async (t) => {
  const path = transcript(t, prompt);
  const kept = isKept(path, 'prompt-1');
  // Half a line first: the CLI may be writing.
  appendFileSync(path, JSON.stringify(text).slice(0, 20));
  // At least one look finds no answer; the looks continue for a second.
  await pause(150);
  appendFileSync(path, `${JSON.stringify(text).slice(20)}\n`);
  t.ok(await kept);
});

t.test('a transcript that is absent or a symlink keeps no turn', async (t) => {
  t.notOk(await isKept(undefined, 'prompt-1'));
  const path = transcript(t, prompt, text);
  symlinkSync(path, `${path}.link`);
  t.notOk(await isKept(`${path}.link`, 'prompt-1'));
});
