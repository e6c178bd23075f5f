/**
 * The hosts that init and the CLI need, all at port 443. `berth doctor` tries these hosts, and
 * tests compare the egress policies in manifests/ with this list. Measured with the CLI 2.1.330 and
 * the variables that berth sets (no traffic except the model's), a login of claude.ai, and a
 * repository on github.com. The hosts of the login were also measured with 2.0.77 and 2.1.212.
 */

export interface WantedHost {
  /** A host name, never a wildcard. */
  readonly host: string;
  readonly port: 443;
  /**
   * The program that connects to the host. Egress is per pod, so both programs can reach the host.
   */
  readonly who: 'init' | 'runtime';
  readonly why: string;
  /** The setting that needs the host; absent if the host is always needed. */
  readonly optional?: string;
}

export const hosts: readonly WantedHost[] = [
  {
    host: 'github.com',
    port: 443,
    who: 'init',
    why: 'serves the repository',
  },
  {
    host: 'api.github.com',
    port: 443,
    who: 'init',
    why: 'returns the cause when access fails, and the tokens of a GitHub App',
  },
  {
    host: 'registry.npmjs.org',
    port: 443,
    who: 'init',
    why: 'serves the tarball of the CLI',
    optional: 'if BERTH_CLAUDE_TARBALL is set, so that init installs the CLI on the volume',
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
    why: 'refreshed the login of CLIs 2.0; neither 2.1.212 nor 2.1.330 connects to it, and berth accepts no older CLI',
  },
];
