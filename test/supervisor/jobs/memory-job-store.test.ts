/** The store in memory of other tests keeps the contract too. */
import t from 'tap';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { testJobStore } from './store-contract.ts';

const most = 104;
testJobStore(t, async () => ({ store: memoryJobStore({ most }) }), { most });
