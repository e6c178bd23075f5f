/**
 * Checks what the CLI ignores of the volume's settings.json, by berth's own rules, without starting
 * a CLI. The supervisor also queries the CLI, and may know more (settings-guard.ts).
 */
import { join } from 'node:path';
import { describeSettingsProblem, settingsProblems } from '../../shared/cli-settings.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';

const largestFile = 1024 * 1024;
const mostListed = 20;

const remedy = 'correct it in the .claude repository, and restart the pod, unless init stays';

export async function checkClaudeSettings(configDirectory: string): Promise<Finding[]> {
  const path = join(configDirectory, 'settings.json');
  let content: Buffer | undefined;
  try {
    content = await readFileBounded(path, largestFile);
  } catch (error) {
    return [warning(path, `it cannot be checked: ${messageOf(error)}`, remedy)];
  }
  if (content === undefined) return [absent(path, 'it does not exist: the CLI uses its defaults')];
  const problems = settingsProblems(content);
  if (problems.length === 0) return [ok(path, 'the CLI ignores nothing of it')];
  const findings = problems.slice(0, mostListed).map((problem) => {
    const text = describeSettingsProblem(problem);
    if (problem.loses === 'part') return warning(path, `${text}: the CLI ignores it`, remedy);
    const what = problem.loses === 'all' ? 'all of the file' : 'it, so it forbids nothing';
    return failed(path, `${text}: the CLI ignores ${what}`, remedy);
  });
  const rest = problems.length - findings.length;
  return rest > 0 ? [...findings, warning(path, `and ${rest} more`, remedy)] : findings;
}
