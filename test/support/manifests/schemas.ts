/**
 * Manifests held against the schemas of their kinds, closed: the compiler refuses a field that a type
 * does not know, which the API server would warn about and drop, and the validators of
 * kubernetes-models find what types do not say (required fields, patterns, enumerations).
 */
import { join } from 'node:path';
import ts from 'typescript';
import type { Manifest } from '../manifests.ts';

/** Packages by the group of the API, or by what it ends in. */
const packages: Record<string, string> = {
  'cilium.io': '@kubernetes-models/cilium',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'external-secrets.io': '@kubernetes-models/external-secrets',
  'toolkit.fluxcd.io': '@kubernetes-models/flux-cd',
  'argoproj.io': '@kubernetes-models/argo-cd',
  'keda.sh': '@kubernetes-models/keda',
};

/** What is wrong with each of `sets`; empty lists if nothing is. One compiler for all, for it is slow. */
export async function schemaProblems(sets: readonly (readonly Manifest[])[]): Promise<string[][]> {
  const texts = [...new Set(sets.flat().map((manifest) => JSON.stringify(manifest, null, 1)))];
  const unknownFields = compile(texts);
  const wrongValues = await Promise.all(texts.map((text) => validate(JSON.parse(text))));
  const problems = new Map(
    texts.map((text, index) => [
      text,
      [...(unknownFields[index] ?? []), ...(wrongValues[index] ?? [])],
    ]),
  );
  return sets.map((set) =>
    set.flatMap((manifest) => problems.get(JSON.stringify(manifest, null, 1)) ?? []),
  );
}

function moduleOf({ apiVersion, kind }: Manifest): string {
  const [group = '', version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const [, known] =
    Object.entries(packages).find(([name]) => group === name || group.endsWith(`.${name}`)) ?? [];
  const path = group === '' ? `${version}/${kind}` : `${group}/${version}/${kind}`;
  return `${known ?? 'kubernetes-models'}/${path}`;
}

async function validate(manifest: Manifest): Promise<string[]> {
  const name = `${manifest.kind} ${manifest.metadata?.name}`;
  try {
    const { [manifest.kind]: Model } = await import(moduleOf(manifest));
    new Model(manifest).validate();
    return [];
  } catch (error) {
    return [`${name}: ${error instanceof Error ? error.message : error}`];
  }
}

/** The compiler's complaints about each text. */
function compile(texts: readonly string[]): string[][] {
  const problems: string[][] = texts.map(() => []);
  const file = join(import.meta.dirname, 'rendered-manifests.ts');
  const starts: number[] = [];
  let source = '';
  for (const [index, text] of texts.entries()) {
    starts.push(source.length);
    const manifest: Manifest = JSON.parse(text);
    const type = `import('${moduleOf(manifest)}').I${manifest.kind}`;
    source += `export const manifest${index}: ${type} = ${text};\n`;
  }
  for (const { messageText, start = 0 } of diagnose(file, source)) {
    const index = starts.findLastIndex((each) => each <= start);
    const line = source.slice(source.lastIndexOf('\n', start) + 1).split('\n', 1)[0];
    problems[index]?.push(`${line?.trim()} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`);
  }
  return problems;
}

const options: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ESNext,
  lib: ['lib.esnext.d.ts'],
  types: [],
  strict: true,
  skipLibCheck: true,
  noEmit: true,
};

/** What the compiler has read and parsed: the types of Kubernetes are the same in each call. */
const parsed = new Map<string, ts.SourceFile | undefined>();
let earlier: ts.Program | undefined;

function diagnose(file: string, source: string): readonly ts.Diagnostic[] {
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.readFile = (path) => (path === file ? source : readFile(path));
  host.getSourceFile = (path, ...rest) => {
    if (path === file) return getSourceFile(path, ...rest);
    if (!parsed.has(path)) parsed.set(path, getSourceFile(path, ...rest));
    return parsed.get(path);
  };
  earlier = ts.createProgram([file], options, host, earlier);
  return ts.getPreEmitDiagnostics(earlier);
}
