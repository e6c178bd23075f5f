/**
 * Loaded before each test file: tap follows each asynchronous resource to learn which test an error belongs to, which
 * costs a tenth of the CPU of the tests that use HTTP. Without that, an error that no test awaits fails the file: its
 * stack trace names the line.
 */
import hooks from 'node:async_hooks';
import { syncBuiltinESMExports } from 'node:module';

hooks.createHook = () => {
  const hook = { enable: () => hook, disable: () => hook };
  return hook;
};
syncBuiltinESMExports();
