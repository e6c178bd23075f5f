/**
 * A program that delivers the callbacks of a store until it is killed, and prints each outcome. Arguments: the directory of
 * the store, the file of the secret, and by how many milliseconds the clock is ahead.
 */
import { AllowedHosts } from '../../supervisor/jobs/callbacks/allowed-hosts.ts';
import { Callbacks } from '../../supervisor/jobs/callbacks/callbacks.ts';
import { openJobStore } from '../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { captureLog } from './captured-log.ts';

const [stateDirectory = '', secretFile = '', late = '0'] = process.argv.slice(2);
const { log } = captureLog();
const store = await openJobStore({ stateDirectory, most: 10, log });
const claim = store.claimCallback.bind(store);
store.claimCallback = (now, lease) => claim(now + Number(late), lease);
const hosts = AllowedHosts.parse('127.0.0.0/8');
const callbacks = await Callbacks.open({ hosts, secretFile, environment: {}, log });
callbacks.start(store, (outcome) => process.stdout.write(`${outcome}\n`));
