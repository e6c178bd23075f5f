import t from 'tap';
import { builtInProfile, type Profile } from '../../../supervisor/profiles/profile.ts';
import { Intake, type PromptRequest } from '../../../supervisor/prompts/prompt.ts';

const withTools = (...allow: string[]): Profile => ({
  ...builtInProfile(1),
  tools: { allow, deny: [] },
});

/** A prompt that was resolved under a profile with Bash, and a function that loads another profile. */
async function resolved(fields: PromptRequest['fields']) {
  let profile = withTools('Bash', 'Read');
  const intake = new Intake({
    store: { read: async () => undefined },
    profiles: { get: () => profile, forToken: () => profile },
    promptTimeout: 60_000,
  });
  const prompt = await intake.resolve({
    ...{ text: 'x', sessionId: undefined, fork: false, profile: undefined, fields },
    ...{ onLimit: 'wait', onRecycle: 'continue', token: 'tests', tokenId: undefined },
    traceparent: undefined,
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
