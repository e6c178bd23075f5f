/**
 * Loaded before each test file: a child process gets the environment that the test names, and nothing of
 * tap's. tap would load its hooks into each Node.js child, 0.2 s of CPU each, and add variables that a
 * test of the environment would see.
 */
import processOnSpawn from 'process-on-spawn';

processOnSpawn.removeAllListeners();
// tap adds its listener when it loads the first file.
processOnSpawn.addListener = () => {};
