/**
 * Lists what the CLI should load from the configuration directory: plugins that settings.json
 * enables, and skills. The CLI (2.1.330) silently ignores what it cannot read, so this list is
 * compared with the list of the CLI.
 * Invariant: files on the volume are untrusted: reads are bounded, and nothing here throws.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded } from '../../shared/files.ts';

export interface ExpectedExtensions {
  /** As `name@marketplace`. */
  plugins: string[];
  skills: string[];
}

const most = 200;
const largestFile = 1024 * 1024;

const settings = z.object({
  enabledPlugins: z.record(z.string(), z.unknown()).catch({}),
  skillOverrides: z.record(z.string(), z.unknown()).catch({}),
});

export async function readExpectedExtensions(configDirectory: string): Promise<ExpectedExtensions> {
  const { enabledPlugins, skillOverrides } = await readSettings(configDirectory);
  const folder = join(configDirectory, 'skills');
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const names = entries
    .filter((entry) => entry.isDirectory() && skillOverrides[entry.name] === undefined)
    .map(({ name }) => name)
    .slice(0, most);
  const listed = await Promise.all(names.map((name) => isListed(join(folder, name, 'SKILL.md'))));
  return {
    plugins: Object.keys(enabledPlugins)
      .filter((name) => enabledPlugins[name] === true)
      .slice(0, most),
    skills: names.filter((_, index) => listed[index]),
  };
}

async function readSettings(configDirectory: string): Promise<z.infer<typeof settings>> {
  const none = { enabledPlugins: {}, skillOverrides: {} };
  try {
    const content = await readFileBounded(join(configDirectory, 'settings.json'), largestFile);
    return settings.parse(JSON.parse(content?.toString('utf8') ?? '{}'));
  } catch {
    return none;
  }
}

/** Whether the CLI lists the skill; skills that a person cannot call are not listed. */
async function isListed(path: string): Promise<boolean> {
  const content = await readFileBounded(path, largestFile).catch(() => undefined);
  return content !== undefined && !/^user-invocable:\s*false\b/m.test(content.toString('utf8'));
}
