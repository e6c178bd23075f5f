import t from 'tap';
import { refusal } from '../../../init/volume/volume-access.ts';

const volume = { uid: 0, gid: 0, mode: 0o40755 };
const user = { uid: 1000, gid: 1000, groups: [1000] };
const ext4 = 0xef53;

t.test(
  'the error for an unusable volume names the owner of the volume and the user of init',
  async (t) => {
    const text = refusal('/claude-config', volume, ext4, user);
    t.match(text, /^cannot use \/claude-config: it belongs to 0:0 with mode 755/);
    t.match(text, /berth-init runs as 1000:1000; set fsGroup: 1000 in the pod's securityContext/);
    t.match(text, /If it is set, the volume ignores it \(NFS, hostPath and some drivers do\)/);
  },
);

t.test('network file systems are named, for no fsGroup helps there', async (t) => {
  const kinds = { 26985: 'NFS', 4283649346: 'CIFS', 4266872130: 'SMB', 16914839: '9p' };
  for (const [type, name] of Object.entries(kinds)) {
    const text = refusal('/claude-config', volume, Number(type), user);
    t.match(text, `a volume of ${name} ignores fsGroup: chown it on its server to 1000:1000`);
  }
});

t.test('the error reports that the volume ignores the fsGroup of the process', async (t) => {
  const text = refusal('/claude-config', volume, ext4, { ...user, groups: [1000, 2000] });
  t.match(text, /\(groups 2000\); the volume ignores fsGroup, as hostPath and some drivers do/);
});

t.test('the error for root names the missing capabilities', async (t) => {
  const owned = { uid: 1000, gid: 1000, mode: 0o40700 };
  const text = refusal('/claude-config', owned, ext4, { uid: 0, gid: 0, groups: [] });
  t.match(text, /without the capability DAC_OVERRIDE; add CHOWN, DAC_OVERRIDE and FOWNER/);
  const squashed = refusal('/claude-config', owned, 0x6969, { uid: 0, gid: 0, groups: [] });
  t.match(squashed, /a volume of NFS may restrict root \(root_squash\): run init as the user/);
});
