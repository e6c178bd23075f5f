/** The settings of proposals, a part of the init that stays. */
import { setting } from '../../shared/config.ts';
import { flag } from '../../shared/setting-types.ts';
import { proposePaths } from './paths.ts';

/** The branch of berth's pull request. */
export const proposalsBranch = 'berth/changes';

export const proposalDefinitions = {
  proposeChanges: setting({
    name: 'BERTH_PROPOSE_CHANGES',
    schema: flag,
    default: 'false',
    description:
      'Whether an init that stays proposes what changed on the volume as a pull request of the branch `berth/changes` (docs/proposals.md). The token needs "Contents: write" and "Pull requests: write". Needs BERTH_SYNC_INTERVAL and GitHub.',
  }),
  proposePaths: setting({
    name: 'BERTH_PROPOSE_PATHS',
    schema: proposePaths,
    default: 'CLAUDE.md,skills/,agents/,commands/,memory/,agent-memory/',
    description:
      "Where new files are proposed, as paths of the repository (below BERTH_REPO_PATH); a directory ends with a slash. Edits of tracked files are proposed everywhere. `memory/` has the folders of the CLI's memory.",
  }),
};

/** The paths of BERTH_PROPOSE_PATHS; undefined if nothing is proposed. */
export type ProposePaths = readonly string[] | undefined;
