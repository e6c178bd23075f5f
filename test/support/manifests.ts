/**
 * Manifests as a cluster would get them: rendered by kubectl, and held against the types of the
 * Kubernetes API. The compiler refuses a field that it does not know in an object literal, which the
 * API server would warn about and drop: so misspelt fields are found.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type {
  ConfigMap,
  PersistentVolumeClaim,
  Secret,
  Service,
} from 'kubernetes-types/core/v1.js';
import ts from 'typescript';
import { parseAllDocuments } from 'yaml';

interface Kinds {
  ConfigMap: ConfigMap;
  Deployment: Deployment;
  PersistentVolumeClaim: PersistentVolumeClaim;
  Secret: Secret;
  Service: Service;
}

export type Manifest = Kinds[keyof Kinds];

const modules: Record<keyof Kinds, string> = {
  ConfigMap: 'core/v1',
  Deployment: 'apps/v1',
  PersistentVolumeClaim: 'core/v1',
  Secret: 'core/v1',
  Service: 'core/v1',
};

/** The version of kubectl's kustomize; `old` before 1.21, undefined without kubectl. */
export function kustomizeVersion(): string | undefined {
  try {
    const output = execFileSync('kubectl', ['version', '--client', '-o', 'json'], {
      stdio: 'pipe',
    });
    return JSON.parse(output.toString('utf8')).kustomizeVersion ?? 'old';
  } catch {
    return undefined;
  }
}

/** What `kubectl apply -k directory` would send. */
export function render(directory: string): Manifest[] {
  return parse(execFileSync('kubectl', ['kustomize', directory], { encoding: 'utf8' }));
}

export function parse(text: string): Manifest[] {
  // As Kubernetes reads it: 0440 is octal.
  return parseAllDocuments(text, { version: '1.1' })
    .map((document): Manifest | null => document.toJS())
    .filter((manifest) => manifest !== null);
}

/** The only manifest of this kind. */
export function only<K extends keyof Kinds>(manifests: Manifest[], kind: K): Kinds[K] {
  const [found, another] = manifests.filter((manifest) => manifest.kind === kind);
  if (!found || another) throw new Error(`there is not just one ${kind}`);
  return found as Kinds[K];
}

/** What the types of the Kubernetes API say against the manifests; empty if they are right. */
export function typeProblems(manifests: readonly Manifest[]): string[] {
  const file = join(import.meta.dirname, 'rendered-manifests.ts');
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ESNext,
    lib: ['lib.esnext.d.ts'],
    types: [],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  const source = manifests.map(declaration).join('');
  host.fileExists = (path) => path === file || fileExists(path);
  host.readFile = (path) => (path === file ? source : readFile(path));
  const program = ts.createProgram([file], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText, start = 0 }) => {
    const line = source
      .slice(source.lastIndexOf('\n', start) + 1)
      .split('\n')[0]
      ?.trim();
    return `${line} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

function declaration(manifest: Manifest, index: number): string {
  const kind = manifest.kind as keyof Kinds;
  const type = `import('kubernetes-types/${modules[kind]}.js').${kind}`;
  return `export const manifest${index}: ${type} = ${JSON.stringify(manifest, null, 1)};\n`;
}
