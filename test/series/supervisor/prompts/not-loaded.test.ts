import t from 'tap';
import { startWithRealCli } from '../../../support/supervisor.ts';

const skill = (head: string) => ({ 'SKILL.md': `---\n${head}\n---\nBrew it.\n` });

t.test('the answer warns about plugins and skills that the CLI did not load', async (t) => {
  const config = {
    'settings.json': JSON.stringify({
      enabledPlugins: { 'tea@shop': true, 'milk@shop': false },
      extraKnownMarketplaces: {
        shop: { source: { source: 'git', url: 'http://127.0.0.1:9/shop.git' } },
      },
    }),
    skills: {
      good: skill('description: Brews a tea.'),
      hidden: skill('description: Brews a tea.\nuser-invocable: false'),
      bare: { 'SKILL.md': 'Brew it.\n' },
      folder: { 'notes.md': 'No skill.' },
    },
  };
  const { prompt, log, call } = await startWithRealCli(t, {
    config: config as unknown as Record<string, string>,
  });
  const { status, body } = await prompt('[[say hello]]');
  t.equal(status, 200);
  t.match(body.warnings, [
    /^the plugin tea@shop was not loaded: /,
    /^the skill bare was not loaded: /,
  ]);
  t.equal(body.warnings.length, 2);
  t.equal(log.count('cli_problem'), 2);
  const { cli_problems } = (await call('GET', '/v1/status')).body;
  t.match(cli_problems, [
    { kind: 'plugin', name: 'tea@shop' },
    { kind: 'skill', name: 'bare' },
  ]);
});
