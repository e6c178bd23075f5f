/** Several replicas over Redis, and what starts them: whole, and by names that berth has. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { problemsOf } from '../../support/manifests/problems.ts';
import { schemaProblems } from '../../support/manifests/schemas.ts';
import { all, cannotRender, manifestsDirectory, parse, render } from '../../support/manifests.ts';

const skip = cannotRender();
const examples = join(manifestsDirectory, 'examples');

t.test('each replica has its claim and its name, and all share one Redis', { skip }, async (t) => {
  const manifests = render(join(examples, 'replicas'));
  t.same(await problemsOf([manifests]), [[]]);
  const [berth, redis] = all(manifests, 'StatefulSet');
  t.match(berth, {
    metadata: { name: 'berth' },
    spec: {
      replicas: 3,
      serviceName: 'berth',
      volumeClaimTemplates: [{ metadata: { name: 'claude' } }],
    },
  });
  t.notOk('strategy' in (berth?.spec ?? {}));
  t.same(all(manifests, 'Deployment'), []);
  t.same(all(manifests, 'PersistentVolumeClaim'), []);
  t.match(JSON.stringify(redis), /"--appendonly","yes".*"--maxmemory-policy","noeviction"/);
});

t.test('KEDA scales the StatefulSet of the replicas by metrics that berth has', async (t) => {
  const [scaled] = parse(readFileSync(join(examples, 'keda/scaled-object.yaml'), 'utf8'));
  if (!scaled) throw new Error('there is no ScaledObject');
  t.same(await schemaProblems([[scaled]]), [[]]);
  const { scaleTargetRef, triggers } = scaled.spec as {
    scaleTargetRef: { kind: string; name: string };
    triggers: { metadata: { query: string } }[];
  };
  t.match(scaleTargetRef, { kind: 'StatefulSet', name: 'berth' });
  const metrics = join(manifestsDirectory, '../supervisor/metrics/jobs.ts');
  const used = triggers[0]?.metadata.query.match(/berth_\w+/g) ?? [];
  t.ok(used.length > 0);
  for (const metric of used) t.match(readFileSync(metrics, 'utf8'), `'${metric}'`);
});
