/**
 * The hosts that init and the CLI need: the one list that `berth doctor` tries and that the egress
 * policies in manifests/ are held against. All of them are reached at port 443.
 * Measured with the CLI 2.1.330 and what berth sets for it (nothing but what the model needs leaves it),
 * a login of claude.ai, and a repository on github.com. The hosts of the login were measured with 2.0.77
 * and 2.1.212 too.
 */

export interface WantedHost {
  /** A name; never a wildcard. */
  readonly host: string;
  readonly port: 443;
  /** Which of the two programs asks for it; egress is per pod, so both reach it. */
  readonly who: 'init' | 'runtime';
  readonly why: string;
  /** Needed only where a setting asks for it. */
  readonly optional?: string;
}

export const hosts: readonly WantedHost[] = [
  {
    host: 'github.com',
    port: 443,
    who: 'init',
    why: 'the repository is fetched from there',
  },
  {
    host: 'api.github.com',
    port: 443,
    who: 'init',
    why: 'asked for the cause when access fails, and for the tokens of a GitHub App',
  },
  {
    host: 'registry.npmjs.org',
    port: 443,
    who: 'init',
    why: 'the CLI is fetched from there',
    optional: 'where BERTH_CLAUDE_TARBALL has init put the CLI on the volume',
  },
  {
    host: 'api.anthropic.com',
    port: 443,
    who: 'runtime',
    why: "the model's API, and the login's profile",
  },
  {
    host: 'platform.claude.com',
    port: 443,
    who: 'runtime',
    why: "refreshes the CLI's login",
  },
  {
    host: 'console.anthropic.com',
    port: 443,
    who: 'runtime',
    why: "refreshed the CLI's login in CLIs of 2.0; neither 2.1.212 nor 2.1.330 asks it, and berth takes no older one",
  },
];
