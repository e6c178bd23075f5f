import t from 'tap';
import { createMetrics } from '../../../supervisor/metrics/counters.ts';
import type { MetricSources } from '../../../supervisor/metrics/gauges.ts';

t.test('a counter starts at 0 for each label, and a counted value is never reset', async (t) => {
  let profiles = ['default'];
  const metrics = createMetrics({
    profiles: () => profiles,
    tokens: () => ['n8n', 'ops'],
  } as unknown as MetricSources);
  const told = async (name: string) => {
    const text = await metrics.registry.getSingleMetricAsString(name);
    return text.split('\n').filter((line) => line.startsWith(name));
  };
  const prompts = (outcome: string, profile: string, count: number) =>
    `berth_prompts_total{outcome="${outcome}",profile="${profile}"} ${count}`;
  metrics.prompt('early', 'overloaded', 1);
  metrics.recycled('memory');
  profiles = ['default', 'early'];
  const first = await told('berth_prompts_total');
  for (const line of [
    prompts('ok', 'default', 0),
    prompts('overloaded', 'default', 0),
    prompts('ok', 'early', 0),
    prompts('overloaded', 'early', 1),
  ]) {
    t.ok(first.includes(line), line);
  }
  const recycles = await told('berth_worker_recycles_total');
  t.ok(recycles.includes('berth_worker_recycles_total{reason="memory"} 1'));
  t.ok(recycles.includes('berth_worker_recycles_total{reason="crashed"} 0'));
  for (const name of [
    'berth_prompt_duration_seconds',
    'berth_time_to_first_token_seconds',
    'berth_queue_wait_seconds',
  ]) {
    const count = (await told(name)).filter((line) => /_count\{.*profile="default"/.test(line));
    t.match(count, [/ 0$/], name);
  }
  profiles = ['default', 'new'];
  t.ok(
    (await told('berth_tokens_total')).includes('berth_tokens_total{kind="input",profile="new"} 0'),
  );
  const usage = { input_tokens: 1, output_tokens: 1 } as never;
  metrics.spent('default', { costUsd: 0, usage }, 'ops');
  metrics.spent('default', { costUsd: 0, usage });
  t.same(await told('berth_token_cost_usd_total'), [
    'berth_token_cost_usd_total{token="ops"} 0',
    'berth_token_cost_usd_total{token="n8n"} 0',
  ]);
  t.same(await told('berth_cost_usd_total'), [
    'berth_cost_usd_total{profile="early"} 0',
    'berth_cost_usd_total{profile="default"} 0',
    'berth_cost_usd_total{profile="new"} 0',
  ]);
});

t.test('the level of a disk is exported beside its free bytes', async (t) => {
  const bytes = { total: 1e10, free: 1e9 };
  const { registry } = createMetrics({
    profiles: () => [],
    tokens: () => [],
    // Without inodes, much space does not help.
    disks: () => [
      { ...bytes, path: '/volume', level: 'full' },
      { ...bytes, path: '/workspace', level: 'low' },
      { ...bytes, path: '/tmp', level: 'ok' },
    ],
  } as unknown as MetricSources);
  const text = await registry.getSingleMetricAsString('berth_disk_level');
  t.same(
    text.split('\n').filter((line) => line.startsWith('berth')),
    [
      'berth_disk_level{path="/volume"} 2',
      'berth_disk_level{path="/workspace"} 1',
      'berth_disk_level{path="/tmp"} 0',
    ],
  );
});
