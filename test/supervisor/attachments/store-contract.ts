/** The tests that every store of the attachments of jobs must pass. */
import type { Test } from 'tap';
import { attachmentOf } from '../../../supervisor/attachments/attachment.ts';
import type { AttachmentStore } from '../../../supervisor/attachments/attachment-store.ts';

export interface AttachmentFixture {
  /** An empty store. */
  store: AttachmentStore;
  /** The job of these files was accepted long ago. */
  accepted: (job: string) => Promise<void>;
  /** Replaces the content of the first file. */
  spoil: (job: string, content: string) => Promise<void>;
}

export const png = Buffer.from('89504e470d0a1a0a0000', 'hex');

/** Registers the contract as subtests. @param make opens an empty store, and closes it at the end of the test */
export function testAttachmentStore(t: Test, make: (t: Test) => Promise<AttachmentFixture>): void {
  const test = (name: string, run: (t: Test, fixture: AttachmentFixture) => Promise<void>): void =>
    void t.test(name, async (t) => run(t, await make(t)));
  const files = [
    attachmentOf({ name: 'a.csv', mediaType: 'text/csv', data: Buffer.from('one\u0000\r\n') }, ''),
    attachmentOf({ name: 'a.csv', mediaType: 'text/csv', data: Buffer.from([0xff, 0xfe, 0]) }, ''),
    attachmentOf({ name: 'Bild', mediaType: undefined, data: png }, ''),
  ];

  test('files are loaded as they were saved, byte for byte', async (t, { store }) => {
    const kept = await store.save('job_1', files);
    t.match(kept[2], { name: 'Bild', media_type: 'image/png', bytes: png.length });
    t.same(await store.load('job_1', kept), files);
    t.same(await store.load('job_1', kept), files, 'also a second time');
  });

  test('a sweep removes the files of jobs that need them no more', async (t, fixture) => {
    const { store, accepted } = fixture;
    const kept = await store.save('job_1', files);
    await store.save('job_2', files);
    t.equal(await store.sweep(async () => false), 0, 'jobs that are being accepted are left alone');
    for (const job of ['job_1', 'job_2']) await accepted(job);
    t.equal(await store.sweep(async (job) => job === 'job_2'), 1);
    await t.rejects(store.load('job_1', kept), { code: 'invalid_request' });
    t.same(await store.load('job_2', kept), files);
    t.equal(await store.sweep(async (job) => job === 'job_2'), 0);
  });

  test('a file that was changed is not loaded', async (t, { store, spoil }) => {
    const kept = await store.save('job_1', [...files].reverse());
    const lost = { code: 'invalid_request', message: /"Bild".*send a new job/ };
    await spoil('job_1', 'longer than what was kept');
    await t.rejects(store.load('job_1', kept), lost);
    await spoil('job_1', 'x'.repeat(png.length));
    await t.rejects(store.load('job_1', kept), lost, 'it is no picture');
  });

  test('files are removed once, and removed files are gone', async (t, { store }) => {
    const kept = await store.save('job_1', files);
    await store.remove('job_1');
    await store.remove('job_1');
    await t.rejects(store.load('job_1', kept), { code: 'invalid_request' });
    t.same(await store.load('job_1', await store.save('job_1', files)), files);
  });
}
