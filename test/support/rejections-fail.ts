/**
 * Loaded before each test file: a rejected promise that nobody awaits ends the process, as it ends the supervisor. tap
 * would end the tests of the process and go on: with the next file, whose tests are then refused, or for ever.
 */
process.prependListener('unhandledRejection', (error) => {
  console.error('a promise was rejected that nobody awaits:', error);
  process.exit(1);
});
