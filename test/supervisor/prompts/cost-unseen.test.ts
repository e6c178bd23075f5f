import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readResult } from '../../../supervisor/claude/turn-result.ts';
import { Rates } from '../../../supervisor/prompts/prompt-cost.ts';
import { countUnprompted } from '../../../supervisor/prompts/unprompted-turn.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings, scriptedClaude } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { sessionRecord, storeIn } from '../../support/session-record.ts';
import { startSupervisor } from '../../support/supervisor.ts';

const line = {
  ...{ subtype: 'success', is_error: false, session_id: 'e2ad0f0c-7c1c-4c7e-9a55-3f0d6a1f2b3c' },
  usage: {
    ...{ input_tokens: 1_000, output_tokens: 100 },
    ...{ cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  },
  total_cost_usd: 0.5,
};

t.test('a turn with tokens but no cost is priced by earlier turns, or else too high', (t) => {
  const rates = new Rates();
  const unseen = readResult(line);
  t.match(unseen, { costSeen: false, costUsd: 0 });
  t.equal(rates.priced('m', unseen).costUsd, 0.0225);
  const seen = readResult({ ...line, model_usage_since_last_result: { m: { costUSD: 0.003 } } });
  t.match(seen, { costSeen: true, costUsd: 0.003 });
  t.equal(rates.priced('m', seen), seen);
  rates.learn('m', seen);
  t.ok(Math.abs(rates.priced('m', unseen).costUsd - 0.003) < 1e-9);
  t.end();
});

t.test('a turn without the model has no cost to be seen', (t) => {
  t.equal(readResult({ ...line, usage: {} }).costSeen, true);
  t.end();
});

t.test('a cost that is there in another shape is not taken for 0', (t) => {
  const answered = { ...line, usage: undefined, num_turns: 1 };
  const seen = (more: object) => readResult({ ...answered, ...more }).costSeen;
  t.equal(seen({}), false, 'neither tokens nor a cost');
  t.equal(seen({ is_error: true }), true, 'the model has not answered');
  t.equal(seen({ model_usage_since_last_result: {} }), false);
  t.equal(seen({ model_usage_since_last_result: { m: { cost: 1 } } }), false);
  t.equal(seen({ model_usage_since_last_result: { m: { costUSD: 0 } } }), true);
  const interrupted = { ...line, is_error: true, model_usage_since_last_result: {} };
  t.equal(readResult(interrupted).costSeen, true);
  t.end();
});

t.test('a turn without a prompt whose cost is not seen counts an estimate too', async (t) => {
  const { log, lines } = captureLog();
  const store = storeIn(t, testDirectory(t, {}));
  store.note(sessionRecord({ id: line.session_id, token: 'ops', cost_usd: 0 }));
  const counted: unknown[] = [];
  const meters = {
    costUnseen: (profile: string) => counted.push(profile),
    spentBy: (owner: string | undefined, profile: string, { costUsd }: { costUsd: number }) =>
      counted.push([owner, profile, costUsd]),
  };
  const turn = readResult({ ...line, result: 'done' });
  countUnprompted({ store, rates: new Rates(), meters, log }, 'default', turn);
  t.same(counted, ['default', ['ops', 'default', 0.0225]]);
  t.match(store.peek(line.session_id), { cost_usd: 0.0225, background: [{ result: 'done' }] });
  t.match(lines, [{ event: 'cost_unseen', level: 'error' }]);
  await store.stop();
});

t.test('an answer whose cost is not seen warns, and is counted', async (t) => {
  const surroundings = await makeSurroundings(t);
  const path = join(surroundings.workspace, 'claude');
  const filter = "sed -u 's/model_usage_since_last_result/left_out/'";
  const run = `'${scriptedClaude}' "$@"`;
  writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] && exec ${run}\n${run} | ${filter}\n`);
  chmodSync(path, 0o755);
  const { prompt, log, metricsUrl } = await startSupervisor(t, { surroundings, cli: path });
  const { status, body } = await prompt('[[say hello]]');
  t.match({ status, ...body }, { status: 200, warnings: [/reported no cost/] });
  t.ok(body.cost_usd > 0);
  t.equal(log.count('cost_unseen'), 1);
  const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
  t.match(metrics, /^berth_cost_unseen_total\{profile="default"\} 1$/m);
});
