/** What a selector by labels chooses. */
import { containersOf, type Pod } from '../manifests.ts';

export type Labels = Record<string, string> | undefined;

export function select(pods: readonly Pod[], wanted: Labels): Pod[] {
  return pods.filter(({ labels }) => matches(labels, wanted));
}

/** Whether something with these labels is selected; no selector selects everything. */
export function matches(labels: Labels = {}, wanted: Labels = {}): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/** Whether a selector is this one, word for word. */
export function isSelector(selector: Labels, wanted: Record<string, string>): boolean {
  return matches(selector, wanted) && matches(wanted, selector);
}

export function portsOf({ spec }: Pod) {
  return containersOf(spec).flatMap(({ ports = [] }) => ports);
}
