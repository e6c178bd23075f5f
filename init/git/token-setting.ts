/** Names the source of the git token for remedies: the variable in use, and its Secret. */
import { type Environment, nameInUse, type Setting } from '../../shared/config.ts';

/** Used if the environment is unknown. */
export const usualTokenPlace = 'BERTH_GIT_TOKEN';

/** The file that manifests/base mounts from the Secret berth-git. */
const ownFile = '/secrets/git-token';

/** Completes the sentence "put a token into ...". */
export function tokenPlaceOf(token: Setting<unknown>, environment: Environment): string {
  const name = nameInUse(token, environment);
  if (!environment.KUBERNETES_SERVICE_HOST) return name ?? usualTokenPlace;
  if (name === undefined) {
    return 'a Secret (berth-git, key token), and name its mounted file in BERTH_GIT_TOKEN_FILE';
  }
  const path = name.endsWith('_FILE') ? environment[name] : undefined;
  if (path === ownFile) return `the Secret berth-git, key token (mounted for ${name})`;
  if (path) return `the Secret that is mounted at ${path} (${name})`;
  return `the Secret from which the pod gets ${name}`;
}
