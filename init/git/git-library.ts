/** The parts of isomorphic-git that berth uses, so that only these are in the bundle. */
export { fetch, listServerRefs } from 'isomorphic-git';
