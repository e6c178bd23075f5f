/**
 * The head of a push (gitprotocol-pack: update-request): the refs to change, and the capabilities that
 * the client uses. The pack follows behind this head.
 * Invariants: nothing is passed on that is not understood here. Push options and signed pushes are
 * refused: a push option can make a server merge, and a certificate holds a second list of refs.
 */
import { BerthError } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';
import { flush, PacketError, type PacketReader, packet } from './pkt-line.ts';

export interface PushCommand {
  /** 40 zeros: the ref does not exist yet. */
  readonly old: string;
  /** 40 zeros: the ref is to be deleted. */
  readonly new: string;
  readonly ref: string;
}

export interface PushHead {
  readonly commands: readonly PushCommand[];
  readonly capabilities: readonly string[];
  /** The commits at which the history of a shallow clone ends. */
  readonly shallow: readonly string[];
}

export const zero = '0'.repeat(40);

const mostCommands = 32;
const mostShallow = 1_000;
const line = /^([0-9a-f]{40}) ([0-9a-f]{40}) ([!-~]{1,250})$/;
/** Passed on to the server as they are. */
const known =
  /^(report-status|report-status-v2|side-band-64k|quiet|atomic|ofs-delta|object-format=sha1)$/;
/** Names of programs, replaced by the name of this program. */
const dropped = /^(agent|session-id)=/;

/** @throws BerthError `invalid_request` */
export async function readPushHead(packets: PacketReader): Promise<PushHead> {
  const commands: PushCommand[] = [];
  const shallow: string[] = [];
  let capabilities: string[] = [];
  for (;;) {
    const next = await packets.next().catch((error: unknown) => {
      throw error instanceof PacketError ? malformed(`${error.message}; use git`) : error;
    });
    if (next === 'flush') break;
    if (!Buffer.isBuffer(next)) throw malformed('it is not git, or it was cut short; use git');
    const [text = '', list, ...more] = next.toString('latin1').replace(/\n$/, '').split('\0');
    if (/^push-cert\b/.test(text)) {
      throw malformed('signed pushes are not supported; use git push --no-signed');
    }
    const oid = /^shallow ([0-9a-f]{40})$/.exec(text)?.[1];
    if (list !== undefined && (commands.length > 0 || more.length > 0))
      throw malformed('it has several lists of capabilities');
    if (list !== undefined) capabilities = capabilitiesOf(list);
    const [, old, to, ref] = line.exec(text) ?? [];
    if (oid !== undefined && commands.length === 0) shallow.push(oid);
    else if (old !== undefined && to !== undefined && ref !== undefined)
      commands.push({ old, new: to, ref });
    else throw malformed('it has a line that is no command');
    if (commands.length > mostCommands || shallow.length > mostShallow) {
      throw malformed(`it changes more than ${mostCommands} refs; push fewer at once`);
    }
  }
  return { commands, capabilities, shallow };
}

function capabilitiesOf(list: string): string[] {
  const all = list.split(' ').filter((each) => each !== '' && !dropped.test(each));
  const unknown = all.find((each) => !known.test(each));
  if (unknown === 'push-options') {
    throw malformed('push options are not allowed; use git push without -o');
  }
  if (unknown?.startsWith('object-format=')) {
    throw malformed('only SHA-1 repositories are supported; push from a SHA-1 repository');
  }
  if (unknown !== undefined) throw malformed('it uses a capability that the gateway does not know');
  return all;
}

/** The bytes of the head for the server. */
export function writePushHead({ commands, capabilities, shallow }: PushHead): Buffer {
  const list = [...capabilities, `agent=berth/${version}`].join(' ');
  return Buffer.concat([
    ...shallow.map((oid) => packet(`shallow ${oid}`)),
    ...commands.map(({ old, new: to, ref }, index) =>
      packet(`${old} ${to} ${ref}${index === 0 ? `\0 ${list}` : ''}`),
    ),
    flush,
  ]);
}

function malformed(why: string): BerthError {
  return new BerthError('invalid_request', `cannot push: ${why}`);
}
