import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { McpServers } from '../../../supervisor/configuration/mcp-servers.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('only the servers are kept as they were; the rest belongs to the CLI', (t) => {
  const tea = { tea: { command: 'tea' } };
  const evil = { evil: { command: 'evil' } };
  const directory = testDirectory(t, {
    '.claude.json': JSON.stringify({ mcpServers: tea, projects: { '/a': { mcpServers: tea } } }),
  });
  const file = join(directory, '.claude.json');
  const servers = new McpServers(directory);
  servers.start();
  const look = (content: unknown): unknown => {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    const { restored } = servers.look() ?? {};
    return restored && JSON.parse(restored.toString());
  };
  t.equal(servers.look(), undefined);
  const projects = { '/a': { mcpServers: tea, lastCost: 1 }, '/new': { mcpServers: {} } };
  t.equal(look({ numStartups: 2, mcpServers: tea, projects }), undefined);
  t.same(
    look({ numStartups: 3, mcpServers: evil, projects: { '/b': { mcpServers: evil, x: 1 } } }),
    { numStartups: 3, mcpServers: tea, projects: { '/b': { x: 1 } } },
  );
  t.match(look(`\ufeff${JSON.stringify({ projects: { '/a': { mcpServers: evil } } })}`), {
    mcpServers: tea,
    projects: { '/a': { mcpServers: tea } },
  });
  t.equal(look('{"mcpServers": {"evil"'), undefined, 'the CLI does not read that either');
  rmSync(file);
  t.equal(servers.look(), undefined);
  symlinkSync('/etc/passwd', file);
  t.match(servers.look(), { changed: Number, restored: undefined });
  t.end();
});
