import t from 'tap';
import { helperInForce, runsHelper } from '../../../supervisor/claude/api-key-helper.ts';

t.test('the process of the helper is recognised, in its shell or in the place of it', (t) => {
  const cases: [helper: string, argv: string[], runs: boolean][] = [
    ['sleep 600; echo x', ['/bin/sh', '-c', 'sleep 600; echo x'], true],
    ['sleep 600', ['sleep', '600'], true],
    ['sleep 600 2>/dev/null', ['sleep', '600'], true],
    ['A=1 exec "vault" read -field=k \'a b\'', ['vault', 'read', '-field=k', 'a b'], true],
    ['$HOME/bin/key.sh --x', ['/bin/bash', '/home/node/bin/key.sh', '--x'], true],
    ['~/key.sh', ['/bin/sh', '/home/node/key.sh'], true],
    ['key.sh', ['/bin/sh', '/opt/key.sh'], true],
    ['key.sh', ['/bin/sh', '/opt/other-key.sh'], false],
    ['node key.js', ['node', 'server.js'], false],
    ['vault read', ['node', 'server.js', 'vault', 'read', 'x'], false],
    ['>/dev/null', ['node', 'server.js'], false],
    ['$A/bin-$B/key.sh', ['/opt/x/bin-2/key.sh'], true],
    ['bin-$B/key.sh', ['/opt/bin-2/key.sh'], true],
    ['bin-$B/key.sh', ['/opt/my-bin-2/key.sh'], false],
    // Each of these takes hours with one regular expression.
    [`x${' '.repeat(500_000)}y`, ['node', 'server.js'], false],
    ['$A-'.repeat(40), ['-'.repeat(200_000), 'x'], false],
    [`${'$A-'.repeat(40)}x`, [`${'-'.repeat(200_000)}`], false],
  ];
  for (const [helper, argv, runs] of cases) t.equal(runsHelper(helper, argv), runs, helper);
  t.end();
});

t.test('a process that does not report its settings has no helper', async (t) => {
  const told = (control: () => Promise<unknown>) => helperInForce({ control });
  t.equal(await told(async () => ({ effective: { apiKeyHelper: 'key.sh' } })), 'key.sh');
  t.equal(await told(async () => ({ effective: {} })), undefined);
  t.equal(await told(() => Promise.reject(new Error('it has ended'))), undefined);
});
