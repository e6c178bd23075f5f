/** Mistakes that people make in manifests, one a row: each is found, and said in words that name it. */
import { join } from 'node:path';
import t from 'tap';
import { testDirectory } from '../../support/directory.ts';
import {
  add,
  endpoint,
  type Mistake,
  networkMistakes,
  rule,
} from '../../support/manifests/mistakes.ts';
import { problemsOf } from '../../support/manifests/problems.ts';
import { cannotRender, type Manifest, renderOverlay } from '../../support/manifests.ts';

const mistakes: Mistake[] = [
  ...networkMistakes,
  // What the API server would drop or refuse.
  {
    mistake: 'a misspelt field',
    change: ['"readOnlyRootFilesystem"', '"readonlyRootFilesystem"'],
    found: /'"readonlyRootFilesystem"' does not exist in type/,
  },
  {
    mistake: 'a field of the pod at the container',
    change: ['"name":"runtime",', '"name":"runtime","enableServiceLinks":false,'],
    found: /'"enableServiceLinks"' does not exist in type 'IContainer'/,
  },
  {
    mistake: 'a word for a number',
    change: ['"replicas":1', '"replicas":"one"'],
    found: /"replicas": "one", Type 'string' is not assignable to type 'number'/,
  },
  {
    mistake: 'a number for a word, as a value without quotes is read',
    change: ['"BERTH_REPO":""', '"BERTH_WARM_WORKERS":2'],
    found: /"BERTH_WARM_WORKERS": 2 Type 'number' is not assignable to type 'string'/,
  },
  {
    mistake: 'a required field that is missing',
    change: [/"selector":\{"matchLabels":\{"app.kubernetes.io\/name":"berth"\}\},/, ''],
    found: /Property '"selector"' is missing|must have required property 'selector'/,
  },
  {
    mistake: 'a version of the API with other fields',
    in: 'ingress',
    change: ['"networking.k8s.io/v1"', '"networking.k8s.io/v1beta1"'],
    found: /'"service"' does not exist in type 'IIngressBackend'/,
  },
  {
    mistake: 'a misspelt field of Cilium',
    in: 'cilium-egress',
    change: ['"toFQDNs"', '"toFqdns"'],
    found: /'"toFqdns"' does not exist in type/,
  },
  {
    mistake: 'a number as a port of Cilium',
    in: 'cilium-egress',
    change: ['"port":"443"', '"port":443'],
    found: /"port": 443, Type 'number' is not assignable to type 'string'/,
  },
  {
    mistake: 'a misspelt field of a ServiceMonitor',
    change: add(endpoint({ intervall: '30s' })),
    found: /'"intervall"' does not exist in type/,
  },
  {
    mistake: 'a duration that Prometheus does not read',
    change: add(endpoint({ interval: '30 seconds' })),
    found: /interval must match pattern/,
  },
  {
    mistake: 'an alert without an expression',
    change: add(rule({ labels: { severity: 'warning' } })),
    found: /'"expr"' is missing|required property 'expr'/,
  },
  // What is written back otherwise, so that each apply changes something.
  {
    mistake: 'a default that is left out in a list which is compared as a whole',
    in: 'write-back',
    change: ['"fieldRef":{"apiVersion":"v1",', '"fieldRef":{'],
    found: /downwardAPI.items.fieldRef leaves out apiVersion: write the default, v1$/,
  },
  {
    mistake: 'a port without its protocol in a policy',
    in: 'network-policy',
    change: ['{"port":53,"protocol":"TCP"}', '{"port":53}'],
    found: /^NetworkPolicy.spec.egress.ports leaves out protocol: write the default, TCP$/,
  },
  {
    mistake: 'a quantity in another form',
    change: ['"memory":"4Gi"', '"memory":"4096Mi"'],
    found: /resources.limits.memory is 4096Mi, which the API server writes in another form$/,
  },
  // Names that nothing has.
  {
    mistake: 'a Secret key that is missing',
    change: ['"key":"token"', '"key":"pat"'],
    found: /^Secret berth-git has no key pat$/,
  },
  {
    mistake: 'a misspelt Secret, though it is optional',
    change: ['"name":"berth-login"', '"name":"berth-logins"'],
    found: /^no Secret berth-logins$/,
  },
  {
    mistake: 'a ConfigMap without the hash of its name',
    change: [/"configMapRef":\{"name":"[^"]+"/, '"configMapRef":{"name":"berth-settings"'],
    found: /^no ConfigMap berth-settings$/,
  },
  {
    mistake: 'a claim of another name',
    change: ['"claimName":"berth"', '"claimName":"claude"'],
    found: /^no PersistentVolumeClaim claude$/,
  },
  {
    mistake: 'an account that is not there',
    change: ['"serviceAccountName":"berth"', '"serviceAccountName":"berth-runtime"'],
    found: /^no ServiceAccount berth-runtime$/,
  },
  {
    mistake: 'a Role for an account of another name',
    change: add({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'berth' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'berth' },
      subjects: [{ kind: 'ServiceAccount', name: 'berth-runtime' }],
    }),
    found: /^RoleBinding berth: no ServiceAccount berth-runtime$/,
  },
  {
    mistake: 'a mount without a volume',
    change: [
      '"mountPath":"/workspace","name":"workspace"',
      '"mountPath":"/workspace","name":"work"',
    ],
    found: /^runtime mounts work, which is no volume$/,
  },
  {
    mistake: 'two mounts at one place',
    change: ['"mountPath":"/tmp"', '"mountPath":"/workspace"'],
    found: /^runtime has two mounts at \/workspace$/,
  },
  // Settings.
  {
    mistake: 'a misspelt setting',
    change: ['"BERTH_REPO":""', '"BERTH_REPOSITORY":"you/dot-claude"'],
    found: /^berth-settings: BERTH_REPOSITORY is no setting$/,
  },
  {
    mistake: 'a setting of the other program',
    change: ['"name":"BERTH_API_TOKENS_FILE"', '"name":"BERTH_GIT_TOKEN_FILE"'],
    found: /^runtime: BERTH_GIT_TOKEN_FILE is no setting of it$/,
  },
  {
    mistake: 'a size limit that berth does not know',
    change: ['"sizeLimit":"4Gi"', '"sizeLimit":"1Gi"'],
    found: /^runtime: BERTH_DISK_LIMITS is .*\/tmp=4Gi.*, the volumes have .*\/tmp=1Gi/,
  },
  {
    mistake: 'a value that the program refuses',
    change: ['"BERTH_REPO":""', '"BERTH_DRAIN":"soon"'],
    found: /^runtime: cannot use the configuration.*\n.*BERTH_DRAIN: "soon" is not valid/,
  },
  {
    mistake: 'a file that the Secret does not bring',
    change: ['"/secrets/git-token"', '"/secrets/token"'],
    found: /^init: there is no token at \/secrets for BERTH_GIT_TOKEN_FILE$/,
  },
  {
    mistake: 'a file where nothing is mounted',
    change: ['"mountPath":"/secrets/login"', '"mountPath":"/secrets/claude"'],
    found: /^runtime: nothing is mounted at \/secrets\/login\/credentials.json/,
  },
  // Pod Security.
  {
    mistake: 'capabilities that are kept',
    change: ['"drop":["ALL"]', '"drop":["NET_RAW"]'],
    found: /^runtime keeps capabilities$/,
  },
  {
    mistake: 'a container that may gain privileges',
    change: ['"allowPrivilegeEscalation":false,', ''],
    found: /^init may gain privileges$/,
  },
  {
    mistake: 'a pod that may run as root',
    change: ['"runAsNonRoot":true,', ''],
    found: /^runtime may run as root$/,
  },
  {
    mistake: 'no seccomp',
    change: ['"type":"RuntimeDefault"', '"type":"Unconfined"'],
    found: /^the pod has no seccomp$/,
  },
  {
    mistake: 'a directory of the node',
    change: ['"persistentVolumeClaim":{"claimName":"berth"}', '"hostPath":{"path":"/srv/claude"}'],
    found: /^hostPath volume claude$/,
  },
];

/** Components that come on top of another. */
const besides: Record<string, string[]> = { 'cilium-egress-kubernetes-api': ['cilium-egress'] };

t.test('every mistake is found', { skip: cannotRender() }, async (t) => {
  const directory = testDirectory(t, {});
  const overlays = new Map<string, string>();
  for (const name of new Set(mistakes.map((each) => each.in ?? ''))) {
    const components = name ? [...(besides[name] ?? []), name] : [];
    const overlay = { resources: ['base'], components };
    overlays.set(name, JSON.stringify(renderOverlay(join(directory, `over-${name}`), overlay)));
  }
  const wrong = mistakes.map(({ mistake, in: component = '', change: [from, to] }): Manifest[] => {
    const right = overlays.get(component) ?? '';
    const changed = right.replaceAll(typeof from === 'string' ? from : new RegExp(from, 'g'), to);
    t.not(changed, right, `${mistake}: there is something to change`);
    return JSON.parse(changed);
  });
  const right = [...overlays.values()].map((text): Manifest[] => JSON.parse(text));
  const problems = await problemsOf([...wrong, ...right]);
  for (const [index, { mistake, found }] of mistakes.entries()) {
    const said = problems[index] ?? [];
    t.ok(
      said.some((problem) => found.test(problem)),
      mistake,
      { said },
    );
  }
  // So that nothing is found that was there before.
  t.same(problems.slice(mistakes.length).flat(), []);
});
