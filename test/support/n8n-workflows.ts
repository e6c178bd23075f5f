/** The workflows of examples/n8n, and the places where they call, as a test may give them. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, '../../examples/n8n');

export interface WorkflowNode {
  name: string;
  type: string;
  credentials?: { httpHeaderAuth: { id: string; name: string } };
  parameters: {
    method?: string;
    url?: string;
    jsonBody?: string;
    authentication?: string;
    headerParameters?: { parameters: { name: string; value: string }[] };
    options?: { timeout?: number };
  };
}

export interface Workflow {
  id: string;
  name: string;
  active: boolean;
  nodes: WorkflowNode[];
  connections: Record<string, { main: { node: string }[][] }>;
}

/** Where the workflows call until somebody changes it. */
export const addresses = {
  berth: 'http://berth:8080',
  github: 'https://api.github.com',
  /** In the profiles. */
  n8n: 'http://n8n:5678',
};

/** By the name of the file without `.json`: the text. */
export function workflowTexts(): Record<string, string> {
  const files = globSync('*.json', { cwd: directory }).sort();
  return Object.fromEntries(
    files.map((file) => [file.slice(0, -5), readFileSync(join(directory, file), 'utf8')]),
  );
}

/** The workflow with other addresses. */
export function readWorkflow(text: string, places = addresses): Workflow {
  return JSON.parse(
    text.replaceAll(addresses.berth, places.berth).replaceAll(addresses.github, places.github),
  );
}
