import t from 'tap';
import { cliArguments } from '../../../supervisor/claude/flags.ts';

t.test('a worker trusts only the settings of the user and resumes the given session', (t) => {
  t.ok(cliArguments().includes('--setting-sources=user'));
  t.notOk(cliArguments().includes('--resume'));
  t.same(cliArguments({ resume: 'an-id' }).slice(-2), ['--resume', 'an-id']);
  t.end();
});
