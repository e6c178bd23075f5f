import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import { projectDirectory } from '../../../../supervisor/claude/project-directory.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';

t.jobs = 2;

for (const length of [200, 201, 300]) {
  t.test(
    `the CLI keeps the transcripts of a path of ${length} characters in the directory that berth expects`,
    async (t) => {
      const surroundings = await makeSurroundings(t);
      const workspace = pathOf(surroundings.workspace, length);
      mkdirSync(workspace, { recursive: true });
      const cli = startProcess(t, surroundings, {
        workingDirectory: workspace,
        arguments: cliArguments({}),
      });
      await cli.control({ subtype: 'initialize' });
      await cli.run('[[say done]]', () => {});
      await cli.stop();
      const found = join(surroundings.config, 'projects', projectDirectory(workspace));
      t.ok(readdirSync(found).some((name) => name.endsWith('.jsonl')));
    },
  );
}

/** A path of that many characters. */
function pathOf(root: string, length: number): string {
  const part = (size: number): string => 'é'.padEnd(size, 'deep');
  let path = root;
  while (length - path.length > 120) path = join(path, part(60));
  return join(path, part(length - path.length - 1));
}
