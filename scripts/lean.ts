/**
 * Makes a bundle smaller and faster to start, without changing its sources. Figures:
 * docs/performance.md.
 * Invariant: the interface of a module stays the same. Only parts that berth never calls are
 * removed.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Plugin } from 'esbuild';

const require = createRequire(import.meta.url);
const undici = dirname(require.resolve('undici/package.json'));

/**
 * Loads Node's own modules by `require`. An ESM import reads every export once to copy it, which
 * triggers getters that load unused modules (node:http alone: all of Node's own fetch, 14 MB).
 */
const builtins: Plugin = {
  name: 'builtins',
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'require-call' ? undefined : { path, namespace: 'builtin' },
    );
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/** The parts of undici that berth-init uses; the index of undici loads all parts. */
const undiciParts = `
  import EnvHttpProxyAgent from './lib/dispatcher/env-http-proxy-agent.js';
  import Dispatcher from './lib/dispatcher/dispatcher.js';
  import requestOf from './lib/api/api-request.js';
  import connectOf from './lib/api/api-connect.js';
  export { EnvHttpProxyAgent, Dispatcher };
  export const fetch = (...given) => require('./lib/web/fetch').fetch(...given);
  Dispatcher.prototype.request = requestOf;
  // The tunnel through a proxy.
  Dispatcher.prototype.connect = connectOf;
  export function request(url, { dispatcher, ...options }) {
    const { origin, pathname, search } = new URL(url);
    return dispatcher.request({ ...options, origin, path: pathname + search });
  }
`;

/** The part of undici that write-back uses. */
const undiciClient = `
  import Client from './lib/dispatcher/client.js';
  import requestOf from './lib/api/api-request.js';
  Client.prototype.request = requestOf;
  export { Client };
`;

const leanUndici = (parts: string): Plugin => ({
  name: 'undici',
  setup(build) {
    build.onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'undici-parts' }));
    build.onLoad({ filter: /.*/, namespace: 'undici-parts' }, () => ({
      contents: parts,
      resolveDir: undici,
    }));
    // undici uses two names of it, a class and a number; loading the module for them costs 8 ms.
    build.onResolve({ filter: /^node:http$/ }, ({ importer }) =>
      /undici\/lib\/(core|dispatcher)\//.test(importer)
        ? { path: 'node:http', namespace: 'undici-http' }
        : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: 'undici-http' }, () => ({
      contents: 'module.exports = { maxHeaderSize: 16384, IncomingMessage: class {} };',
    }));
    // The other parsers of undici: an experimental one, and one for processors that Node 24 does
    // not support.
    build.onLoad({ filter: /undici\/lib\/(milo\/.*|llhttp\/llhttp-wasm)\.js$/ }, () => ({
      contents: "throw new Error('this parser is not in the bundle');",
    }));
    // berth requests only HTTP/1.1; node:http2 costs 10 ms and 4 MB.
    build.onLoad({ filter: /undici\/lib\/dispatcher\/client-h2\.js$/ }, () => ({
      contents: 'module.exports = undefined;',
    }));
  },
});

/** Replaces modules that are used only in part or rarely. */
const lazily: Plugin = {
  name: 'lazily',
  setup(build) {
    // berth uses zod's English messages; the other 50 languages cost 10 ms.
    build.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({
      contents: "export { default as en } from './en.js';",
    }));
    build.onResolve({ filter: /^pino-pretty$/ }, ({ namespace, resolveDir }) =>
      namespace === 'lazily'
        ? undefined
        : { path: 'pino-pretty', namespace: 'lazily', pluginData: resolveDir },
    );
    // berth writes its log in its own thread, without pino's transports.
    build.onLoad({ filter: /pino\/lib\/(transport|worker)\.js$/ }, () => ({
      contents: "module.exports = () => { throw new Error('there are no transports here'); };",
    }));
    build.onLoad({ filter: /.*/, namespace: 'lazily' }, ({ path, pluginData }) => ({
      contents: `module.exports = (...given) => require('${path}')(...given);`,
      resolveDir: pluginData,
    }));
  },
};

/** Replaces arithmetic in JavaScript by Node's native implementation. */
const native: Record<string, string> = {
  pako: `
    const { deflateSync, inflateSync } = require('node:zlib');
    module.exports = { deflate: (data) => deflateSync(data), inflate: (data) => inflateSync(data) };
  `,
  'crc-32': `
    const { crc32 } = require('node:zlib');
    module.exports = { buf: (data, before) => crc32(data, before) | 0 };
  `,
  'sha.js/sha1.js': `
    const { createHash } = require('node:crypto');
    module.exports = function Sha1() { return createHash('sha1'); };
  `,
};

const nativeArithmetic: Plugin = {
  name: 'native-arithmetic',
  setup(build) {
    const names = Object.keys(native).join('|').replaceAll('.', '\\.');
    build.onResolve({ filter: new RegExp(`^(${names})$`) }, ({ path }) => ({
      path,
      namespace: 'native',
    }));
    build.onLoad({ filter: /.*/, namespace: 'native' }, ({ path }) => ({
      contents: native[path] ?? '',
      resolveDir: join(undici, '..'),
    }));
  },
};

/**
 * Replaces a character beyond Latin-1 in a regular expression. With that character V8 stores the
 * whole bundle in two bytes for each character.
 */
const asciiGit: Plugin = {
  name: 'ascii-git',
  setup(build) {
    build.onLoad({ filter: /isomorphic-git\/index\.c?js$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
      return { contents: source.replace(/[^\0-\x7f]/g, escaped) };
    });
  },
};

/** The replacements for every program. */
const leanModules: Plugin[] = [builtins, lazily];

export const lean: Plugin[] = [leanUndici(undiciParts), ...leanModules, nativeArithmetic, asciiGit];

export const leanSupervisor: Plugin[] = [leanUndici(undiciClient), ...leanModules];
