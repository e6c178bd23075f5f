/** The schema of the answer of `GET /v1/status`: the state of the server, for a person or a script. */
import { z } from 'zod';

const bytes = z.number().nullable().describe('bytes');
const rate = z.number().nullable().describe('bytes a second');

const counts = z.record(z.string(), z.number());
const dollars = z.number().nonnegative();
const budget = z.object({
  spent_usd: dollars,
  limit_usd: dollars.nullable().describe('null: no limit'),
});
const namedBudget = budget.extend({ name: z.string() });
const level = z
  .enum(['ok', 'low', 'full'])
  .describe('When it is full no session begins; existing sessions continue');

export const statusSchema = z
  .object({
    version: z.string(),
    cli_version: z.string(),
    shared_spares: z
      .enum(['used', 'unsupported', 'untested'])
      .describe(
        '`unsupported`: this CLI does not learn the options of a prompt after its start, so a prompt with overrides starts a process of its own',
      ),
    forks_of_histories: z
      .enum(['used', 'unsupported', 'untested'])
      .describe(
        '`unsupported`: this CLI cannot fork a session at an earlier message, so an earlier history of a client begins a new session; `untested` before the first such fork',
      ),
    state: z
      .enum(['starting', 'serving', 'paused', 'draining'])
      .describe('Paused: prompts are refused until /v1/resume'),
    uptime_s: z.number(),
    workers: z.array(
      z.object({
        name: z.string(),
        state: z.enum(['starting', 'warm', 'busy', 'idle', 'recycling']),
        profile: z.string(),
        session_id: z.string().nullable(),
        pid: z.number().nullable(),
        memory: bytes.describe('Bytes of its whole process tree'),
        memory_growth: rate,
        processes: z.number().nullable(),
        age_s: z.number(),
        config_commit: z
          .string()
          .optional()
          .describe('The commit of the configuration that the process has read, if it is known'),
      }),
    ),
    configuration: z
      .object({
        repository: z.string().nullable(),
        commit: z.string(),
        state: z
          .enum(['current', 'stale'])
          .describe(
            'Stale: init could not reach the git server and continued with the state on the volume; with BERTH_SYNC_INTERVAL this ends when the server confirms that commit',
          ),
        problem: z
          .string()
          .nullable()
          .describe('Why nothing of the repository takes effect, and the remedy'),
        confirmed_at: z
          .string()
          .describe(
            'When the git server confirmed the commit of this report; a sync without a change makes no new report',
          ),
        age_s: z
          .number()
          .describe(
            'Seconds since then; without BERTH_SYNC_INTERVAL, init fetches a newer commit only at the start of the pod',
          ),
        applied_at: z.string().describe('When init last finished with the volume'),
        settings: z
          .enum(['current', 'kept', 'invalid'])
          .describe(
            'Kept: the CLI would ignore the settings.json of this commit, so the last good one stays; invalid: there was no good one',
          ),
      })
      .nullable()
      .describe(
        'The last report of init: before this start, or with BERTH_SYNC_INTERVAL of a later change; null without a report',
      ),
    launch_failures: z
      .array(
        z.object({
          profile: z.string(),
          message: z.string(),
          stderr: z.array(z.string()).describe('The last lines of the CLI'),
          attempts: z.number().describe('Starts that failed since one succeeded'),
          since: z.string(),
          commit: z
            .string()
            .nullable()
            .describe('Of the .claude repository, if workers started with an earlier one'),
          last_good_commit: z.string().nullable().describe('With which they last started'),
        }),
      )
      .describe('Why no worker of these profiles can be started'),
    cli_problems: z
      .array(
        z.object({
          profile: z.string(),
          kind: z.enum(['mcp_server', 'plugin', 'skill', 'hook']),
          name: z.string(),
          problem: z.string().describe('In the words of the CLI'),
          since: z.string(),
        }),
      )
      .describe(
        'MCP servers without a connection, plugins and skills that were not loaded, hooks that fail',
      ),
    queue: z.object({ length: z.number(), limit: z.number() }),
    limits: z
      .array(
        z.object({
          login: z.string(),
          closed: z.boolean().describe('No prompt of this login is sent'),
          reason: z.enum(['usage_limit', 'rate_limited']).nullable(),
          resets_at: z.string().nullable(),
          guessed: z.boolean().describe('The end is unknown: one prompt at a time may try'),
          utilization: z.record(z.string(), z.number()).describe('The used share of each window'),
          window_resets_at: z
            .record(z.string(), z.string())
            .describe('The end of each window, if the API has reported it'),
          warnings: z.array(z.string()),
        }),
      )
      .describe('The known limits of the account'),
    quota: z
      .object({
        windows: z
          .array(
            z.object({
              login: z.string(),
              window: z.string(),
              used_percent: z.number(),
              resets_at: z.string().nullable(),
              heard_at: z.string().describe('When the use was reported last'),
            }),
          )
          .describe('Without an entry the use is unknown, as for logins without a subscription'),
        shares: z.array(
          z.object({
            profile: z.string(),
            login: z.string(),
            priority: z.enum(['normal', 'background']),
            window: z.enum(['five_hour', 'seven_day']),
            share_percent: z.number(),
          }),
        ),
        reserved: z
          .array(
            z.object({
              profile: z.string(),
              priority: z.enum(['normal', 'background']),
              reserved: z.boolean(),
            }),
          )
          .describe('Whether prompts are refused and jobs wait because the share is used up'),
      })
      .describe("The use of the account's windows, and the shares that profiles may use"),
    memory: z.object({
      limit: bytes,
      working_set: bytes,
      growth: rate,
      soft: bytes,
      hard: bytes,
      worker_soft: bytes,
      worker_hard: bytes,
      pressure: z.enum(['none', 'soft', 'hard']),
      stalled: z
        .object({ some: z.number(), full: z.number() })
        .nullable()
        .describe('Percent of the last 10 s in which some, or all, waited for memory (cgroup v2)'),
      oom_kills: z.number().nullable().describe('Processes that the kernel has killed'),
      tasks: z
        .object({ current: z.number(), limit: z.number() })
        .nullable()
        .describe('Processes and threads, where the container has a pids limit'),
      decisions: z.record(z.string(), z.number()).describe('Workers recycled for memory, by cause'),
    }),
    recycles: counts.describe('Workers ended since the start, by reason'),
    turns_carried_on: counts.describe('Turns that continued in another process, by reason'),
    turns_lost: counts.describe('Turns whose process was lost and that ended so, by reason'),
    sessions: z.number().describe('How many there are'),
    jobs: z
      .object({
        store: z.object({
          kind: z.enum(['sqlite', 'redis']),
          available: z.boolean(),
          problem: z.string().nullable().describe('The cause and the remedy'),
        }),
        states: counts.nullable().describe('Jobs by state; null if the store does not answer'),
        parked: counts.nullable().describe('Parked jobs, by the code of the error'),
        oldest_queued_at: z
          .string()
          .nullable()
          .describe('Since when the queued job waits that waits longest'),
        callbacks: z
          .object({ pending: z.number(), oldest_at: z.string().nullable() })
          .nullable()
          .describe('Callbacks that are to be delivered, and since when the oldest of them waits'),
      })
      .nullable()
      .describe('All jobs in the store: with Redis, those of all replicas; null while starting'),
    profiles: z.object({
      names: z.array(z.string()),
      revision: z.string().nullable().describe('Of the file in effect; null without a file'),
      loaded_at: z.string(),
      problem: z.string().nullable().describe('Why the file as it is now is not in effect'),
    }),
    settings: z
      .object({
        ignored: z.array(z.object({ file: z.string(), path: z.string(), message: z.string() })),
      })
      .describe('The parts of settings.json that the CLI ignores; prompts are refused then'),
    disk: z.object({
      level,
      volumes: z.array(z.object({ path: z.string(), size: z.number(), free: z.number(), level })),
    }),
    credentials: z.object({
      source: z.enum(['environment', 'file', 'none']),
      state: z.enum(['valid', 'blank', 'torn', 'older', 'missing']),
      expires_at: z.string().nullable(),
      login_expires_at: z.string().nullable().describe('By when a person must log in again'),
      login_expiry_estimated: z.boolean().describe('Counted from when the login was seen first'),
      refreshed_at: z.string().nullable().describe('The last refresh since the start'),
      put_back_waits_since: z
        .string()
        .nullable()
        .describe('Since when a good login waits for the volume to be writable again'),
      setup_tokens: z
        .array(z.object({ profile: z.string(), expires_at: z.string().nullable() }))
        .describe('Of profiles with one of their own; a year from when each was seen first'),
      advice: z.string().nullable().describe('The next step for a person'),
    }),
    paused: z
      .object({
        by: z.string().nullable().describe('The name of the token; null if it is unknown'),
        since: z.string(),
        reason: z.string().nullable(),
      })
      .nullable(),
    tokens: z
      .array(z.object({ name: z.string(), last_used_at: z.string().nullable() }))
      .describe('The token names, and the last call of each since the server started'),
    spending: z
      .object({
        day: z.string().describe('A day in UTC'),
        resets_at: z.string(),
        deployment: budget,
        tokens: z.array(namedBudget),
        profiles: z.array(namedBudget),
      })
      .describe('The spending of today, at list prices, and the daily budgets'),
  })
  .describe('The state of the server');

export type Status = z.infer<typeof statusSchema>;

export type StatusSource = () => Promise<Status>;
