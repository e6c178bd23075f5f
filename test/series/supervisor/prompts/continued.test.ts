/** The real CLI's transcripts, in which a new process of berth finds what became of a turn. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { turnIn } from '../../../../supervisor/prompts/turn-in-transcript.ts';
import { bashAllowed } from '../../../support/claude.ts';
import { promptText } from '../../../support/messages-api.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

t.test('a transcript shows the answer of each turn that has ended, and of no other', async (t) => {
  const { prompt, call, surroundings } = await startWithRealCli(t, {
    config: { 'settings.json': bashAllowed },
  });
  // The schema needs a process of its own: the other turns share the next one.
  const schema = await prompt('[[tool StructuredOutput {"a":1}]]', {
    output_schema: { type: 'object', properties: { a: { type: 'number' } }, required: ['a'] },
  });
  t.equal(schema.status, 200);
  const { session_id } = schema.body;
  const first = await prompt('[[say one]]', { session_id });
  const tool = await prompt('[[tool Bash {"command":"echo hi"}]] [[say two]]', { session_id });
  t.equal((await prompt('[[status 400]]', { session_id })).status, 502);
  const hung = prompt('[[hang stream]]', { session_id });
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  t.equal((await call('POST', `/v1/sessions/${session_id}/interrupt`)).body.interrupted, true);
  t.match((await hung).body, { code: 'interrupted' });

  const [name = ''] = globSync(`projects/*/${session_id}.jsonl`, { cwd: surroundings.config });
  const transcript = join(surroundings.config, name);
  const sent = readFileSync(transcript, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"turnOrigin":"sdk"'))
    .map((line) => JSON.parse(line).uuid as string);
  t.equal(sent.length, 5);
  const turns = await Promise.all(sent.map((uuid, index) => turnIn(transcript, uuid, index === 0)));
  const answerOf = ({ body }: typeof first) => ({
    kind: 'ended',
    usage: body.usage,
    numTurns: body.num_turns,
    stopReason: 'end_turn',
  });
  t.match(turns[0], { kind: 'ended', output: schema.body.structured_output });
  t.match(turns[1], { ...answerOf(first), result: 'one' });
  t.match(turns[2], { ...answerOf(tool), result: 'two' });
  t.strictSame(turns[3], { kind: 'overtaken' }, 'the API refused it, and another prompt came');
  t.strictSame(turns[4], { kind: 'begun' }, 'it was interrupted');
});
