import t, { type Test } from 'tap';
import { Conversation } from '../../../init/git/conversation.ts';
import { createTransport } from '../../../init/git/transport.ts';
import { type Harbour, openHarbour, token } from '../fixture.ts';

function connect(t: Test, { url }: Harbour, mostBytes = 1_000_000) {
  const login = { username: 'oauth2', token };
  const transport = createTransport({
    url,
    login,
    signal: new AbortController().signal,
    mostBytes,
  });
  t.teardown(() => transport.close());
  return { transport, wanted: { url: `${url}/info/refs?service=git-upload-pack`, headers: {} } };
}

async function textOf(body: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of body ?? []) parts.push(part);
  return Buffer.concat(parts).toString('latin1');
}

t.test(
  'a conversation requests the refs once and can pass the refs to the next conversation',
  async (t) => {
    const harbour = await openHarbour(t);
    const { transport, wanted } = connect(t, harbour);
    const first = new Conversation(transport);
    const answer = await textOf((await first.client().request(wanted)).body);
    t.match(answer, harbour.repository.head());
    t.equal(await textOf((await first.client().request(wanted)).body), answer);
    const second = new Conversation(transport, first.refs);
    t.equal(await textOf((await second.client().request(wanted)).body), answer);
    t.equal(harbour.server.requests.length, 1);
    await new Conversation(transport).client().request(wanted);
    t.equal(harbour.server.requests.length, 2, 'a conversation without refs asks for them');
  },
);

t.test('a conversation keeps the error of a broken body and no partial refs', async (t) => {
  const harbour = await openHarbour(t);
  const { transport, wanted } = connect(t, harbour, 20);
  const conversation = new Conversation(transport);
  const message = /it is larger than 20/;
  await t.rejects(conversation.client().request(wanted), { message });
  t.match(conversation.failure, { message });
  t.throws(() => conversation.assertWhole(), { message });
  t.equal(conversation.refs, undefined);
});

t.test('a 429 answer gives no refs, and its Retry-After is stored', async (t) => {
  const harbour = await openHarbour(t);
  const { transport, wanted } = connect(t, harbour);
  harbour.server.fault({ kind: 'status', status: 429, retryAfter: 3, times: 1 });
  const conversation = new Conversation(transport);
  t.equal((await conversation.client().request(wanted)).statusCode, 429);
  t.equal(conversation.retryAfter, 3_000);
  t.equal(conversation.refs, undefined);
});
