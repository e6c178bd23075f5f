import { join } from 'node:path';
import t from 'tap';
import { ownerRefused, refusal } from '../../shared/owner.ts';
import { testDirectory } from '../support/directory.ts';

const owner = { uid: 1000, gid: 2000 };
const refused = (code: string): Error => Object.assign(new Error(`${code}: chown`), { code });

t.test('each cause of a refused change of owner has its remedy', async (t) => {
  const cases: [cause: Error, type: number | undefined, remedy: RegExp][] = [
    [refused('EINVAL'), undefined, /set BERTH_UID and BERTH_GID/],
    [refused('EPERM'), 4283649346, /a volume of CIFS .* uid=1000,gid=2000/],
    [refused('EPERM'), 19780, /a volume of FAT/],
    [refused('EPERM'), 0xef53, /CHOWN, DAC_OVERRIDE and FOWNER/],
    [refused('EPERM'), undefined, /CHOWN, DAC_OVERRIDE and FOWNER/],
  ];
  for (const [cause, type, remedy] of cases) {
    const error = refusal('/data/file', owner, cause, type);
    t.match(error, { code: 'volume_unwritable', cause, message: remedy });
    t.match(error.message, /cannot change the owner of \/data\/file to 1000:2000/);
  }
});

t.test('the file system is found by the path, also if the file is gone', async (t) => {
  const path = join(testDirectory(t), 'absent');
  t.match(await ownerRefused(path, owner, refused('EPERM')), { code: 'volume_unwritable' });
});
