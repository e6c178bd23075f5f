/**
 * A push: the commands are read and judged before anything goes to the server; then the pack passes
 * through. Behind its commits it is held until push-proof.ts has proved that no branch loses commits.
 * Invariants: a git server changes no ref before the whole pack with its checksum has arrived, and
 * refuses a command whose old value is not the value of the ref. So a push without proof changes
 * nothing. A server may act before the client ends its request, so nothing is judged by the end of the
 * request. The pack is not kept in memory.
 */
import { pipeline } from 'node:stream/promises';
import { BerthError } from '../../shared/errors.ts';
import { abortable } from '../../shared/waiting.ts';
import { noCache, refusePush } from './git-answers.ts';
import { PacketReader } from './pkt-line.ts';
import { type PushHead, readPushHead, writePushHead } from './push-commands.ts';
import { PushProof } from './push-proof.ts';
import { rejectedRefs } from './push-report.ts';
import { refusedByName, refusedByServer } from './push-rules.ts';
import { type Counted, counted, type Transfer, tooMuch } from './transfer.ts';
import { readRefs } from './upstream-refs.ts';

/** Bytes of a server's report. */
const mostReport = 4 * 1024 * 1024;

type Outcome = 'served' | 'refused';

/**
 * Refusals are answered and returned.
 * @throws BerthError for a failure, which is also reported to git where the protocol allows it
 */
export async function servePush(transfer: Transfer): Promise<Outcome> {
  const { request, response, metrics } = transfer;
  if (request.headers['content-encoding'] !== undefined) {
    throw new BerthError('invalid_request', 'cannot push: the request is compressed; use git');
  }
  const received = counted(request);
  const packets = new PacketReader(received.stream);
  try {
    const head = await readPushHead(packets);
    try {
      return await judge(transfer, head, packets, received);
    } catch (error) {
      if (response.headersSent || !(error instanceof BerthError)) throw error;
      const reasons = head.commands.map(({ ref }) => [ref, error.message] as const);
      await answerRefusal(transfer, head, packets, new Map(reasons));
      throw error;
    }
  } finally {
    metrics.bytes('pushed', received.bytes);
  }
}

async function judge(
  transfer: Transfer,
  head: PushHead,
  packets: PacketReader,
  received: Counted,
): Promise<Outcome> {
  const { place, upstream, rules, log, signal } = transfer;
  const { commands } = head;
  // git first sends a push without commands to see whether it is let in.
  if (commands.length === 0) {
    for await (const _ of packets.rest()) {
      throw new BerthError('invalid_request', 'cannot push: bytes follow no command; use git');
    }
    return pass(transfer, head, packets.rest(), received);
  }
  const refuse = async (refused: ReadonlyMap<string, string>): Promise<Outcome> => {
    const refs = [...refused.keys()];
    const [why = ''] = refused.values();
    log.warn('gateway_refused', `a push to ${place.path} was refused: ${why}`, { refs });
    await answerRefusal(transfer, head, packets, refused);
    return 'refused';
  };
  const byName = refusedByName(commands, rules);
  if (byName.size > 0) return refuse(byName);
  const names = commands.map(({ ref }) => ref);
  const byServer = refusedByServer(commands, await readRefs(upstream, place, names, signal));
  if (byServer.size > 0) return refuse(byServer);
  const proof = new PushProof({ place, upstream, commands, signal });
  try {
    return await pass(transfer, head, proof.watch(packets.rest()), received);
  } catch (error) {
    // A proof that fails ends the request to the server.
    if (proof.refused.size > 0) return refuse(proof.refused);
    if (proof.failure) throw proof.failure;
    const isAnswered = error instanceof BerthError && error.code === 'remote_refused';
    if (!isAnswered) {
      const text = `a push to ${place.path} broke off; the server may have changed the refs`;
      log.warn('gateway_failed', text, { refs: names });
    }
    throw error;
  }
}

/** Sends the push to the server and its report to the client. */
async function pass(
  { response, place, upstream, config, log, signal }: Transfer,
  head: PushHead,
  pack: AsyncIterable<Buffer>,
  received: Counted,
): Promise<Outcome> {
  const started = performance.now();
  const sent = Promise.withResolvers<void>();
  async function* body(): AsyncGenerator<Buffer, void> {
    try {
      yield writePushHead(head);
      for await (const chunk of pack) {
        if (received.bytes > config.pushBytes) {
          throw tooMuch(config.pushBytes, 'BERTH_GATEWAY_MAX_PUSH_BYTES');
        }
        yield chunk;
      }
      sent.resolve();
    } catch (error) {
      sent.reject(error);
      throw error;
    } finally {
      // The server has ended the request early.
      sent.resolve();
    }
  }
  sent.promise.catch(() => undefined);
  const answer = await upstream.send({ place, service: 'git-receive-pack', body: body(), signal });
  answer.once('error', () => undefined);
  // A server can begin its answer while the pack arrives, and so before the proof.
  await abortable(sent.promise, signal);
  const report: Buffer[] = [];
  async function* watched(): AsyncGenerator<Buffer, void> {
    for await (const chunk of counted(answer, mostReport, 'the gateway for a report').stream) {
      report.push(chunk);
      yield chunk;
    }
  }
  response.writeHead(200, { 'content-type': 'application/x-git-receive-pack-result', ...noCache });
  await pipeline(watched, response, { signal });
  if (head.commands.length === 0) return 'served';
  const rejected = await rejectedRefs(Buffer.concat(report), head);
  const refs = head.commands.map(({ ref }) => ref).filter((ref) => !rejected.includes(ref));
  if (refs.length > 0) {
    log.info('gateway_pushed', `${place.path} was pushed to`, {
      refs,
      bytes: received.bytes,
      duration_ms: Math.round(performance.now() - started),
    });
  }
  if (rejected.length > 0) {
    log.warn('gateway_refused', `the server rejects a push to ${place.path}`, { refs: rejected });
  }
  return 'served';
}

/** git reads no answer before it has sent its pack, so the pack is read and dropped first. */
async function answerRefusal(
  { response, signal }: Transfer,
  head: PushHead,
  packets: PacketReader,
  refused: ReadonlyMap<string, string>,
): Promise<void> {
  const drained = (async () => {
    for await (const _ of packets.rest());
  })();
  await abortable(drained, signal);
  const [[ref = '', why = ''] = []] = refused;
  refusePush(response, head, refused, `${ref}: ${why}`);
}
