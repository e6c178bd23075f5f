import t from 'tap';
import { builtInProfile, type Profile } from '../../../supervisor/profiles/profile.ts';
import { type PromptRequest, PromptResolver } from '../../../supervisor/prompts/prompt.ts';
import type { SessionRecord } from '../../../supervisor/sessions/session-record.ts';
import { sessionRecord } from '../../support/session-record.ts';

const withTools = (...allow: string[]): Profile => ({
  ...builtInProfile(1),
  tools: { allow, deny: [] },
});

/** A prompt that was resolved under a profile with Bash, and a function that loads another profile. */
async function resolved(
  fields: PromptRequest['fields'],
  record?: SessionRecord,
  rest: Partial<PromptRequest> = {},
) {
  let profile = withTools('Bash', 'Read');
  const promptResolver = new PromptResolver({
    store: { read: async () => record },
    profiles: { get: () => profile, forToken: () => profile },
    promptTimeout: 60_000,
  });
  const prompt = await promptResolver.resolve({
    ...{ text: 'x', sessionId: record?.id, fork: false, profile: undefined, fields },
    ...{ onLimit: 'wait', onRecycle: 'continue', token: 'tests', tokenId: undefined },
    ...{ traceparent: undefined, ...rest },
  });
  const load = (next: Profile): void => {
    profile = next;
  };
  return { prompt, load };
}

t.test('a prompt learns that its profile was loaded again, once', async (t) => {
  const { prompt, load } = await resolved({});
  t.equal(prompt.renewed?.(), undefined);
  const narrowed = withTools('Read');
  load(narrowed);
  t.equal(prompt.renewed?.()?.profile, narrowed);
  t.equal(prompt.renewed?.(), undefined);
});

t.test('a prompt that uses what its profile no longer allows stays refused', async (t) => {
  const { prompt, load } = await resolved({ allowed_tools: ['Bash'] });
  load(withTools('Read'));
  for (const _ of [1, 2]) {
    t.throws(() => prompt.renewed?.(), { code: 'invalid_request', message: /allowed_tools/ });
  }
});

t.test(
  'the fields of the first prompt of a session hold for later ones, unless only theirs count',
  async (t) => {
    const flags = { model: 'opus', append_system_prompt: 'Answer in French.' };
    const record = sessionRecord({ token: 'tests', flags });
    const later = await resolved({ model: 'sonnet' }, record);
    t.strictSame(later.prompt.overrides, {
      model: 'sonnet',
      appendSystemPrompt: 'Answer in French.',
    });
    const own = await resolved({ model: undefined }, record, { ownFieldsOnly: true });
    t.strictSame(own.prompt.overrides, { dropsInstructions: true });
  },
);
