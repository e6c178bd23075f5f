/**
 * The messages between the init that stays and the supervisor, over the link of the shared lease
 * (lease-link.ts).
 * Invariant: every process of the pod can connect to the link, so a message is parsed and bounded.
 */
import { z } from 'zod';

const commit = z.string().regex(/^[0-9a-f]{40}$/);

/** From init. */
export const syncMessage = z.discriminatedUnion('kind', [
  /** The volume is about to change: start no worker, hand out no worker, and answer `quiet`. */
  z.object({ kind: z.literal('begin'), commit }),
  /** The volume is whole again, and has this commit. */
  z.object({ kind: z.literal('end'), commit }),
]);
export type SyncMessage = z.infer<typeof syncMessage>;

/** From the supervisor. */
export const syncReply = z.discriminatedUnion('kind', [
  /** No process reads the configuration now. */
  z.object({ kind: z.literal('quiet'), commit }),
  /** Whether workers start with this commit. */
  z.object({
    kind: z.literal('verdict'),
    commit,
    good: z.boolean(),
    /** Why no worker starts. */
    reason: z.string().max(4_096).optional(),
  }),
  /** Executable configuration differs from the record, and the supervisor has no copy of it. */
  z.object({ kind: z.literal('repair') }),
]);
export type SyncReply = z.infer<typeof syncReply>;
