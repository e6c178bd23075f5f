/** The links between the documents: each leads to a file that is there, and to a heading of it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '..');
const documents = [
  ...readdirSync(root).map((name) => join(root, name)),
  ...readdirSync(join(root, 'docs')).map((name) => join(root, 'docs', name)),
].filter((path) => path.endsWith('.md'));

function proseOf(path: string): string {
  return readFileSync(path, 'utf8').replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
}

/** The anchors that GitHub gives to the headings. */
function anchorsOf(path: string): string[] {
  return [...proseOf(path).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** What is wrong with a link that stands in the document `from`; nothing if it leads somewhere. */
function problemOf(from: string, link: string): string | undefined {
  const [path = '', anchor] = link.split('#');
  const to = path === '' ? from : join(dirname(from), path);
  if (!existsSync(to)) return `${relative(root, from)}: there is no ${path}`;
  if (anchor === undefined || anchorsOf(to).includes(anchor)) return undefined;
  return `${relative(root, from)}: ${relative(root, to)} has no heading ${anchor}`;
}

t.test('each link in the documents leads to an existing file and heading', (t) => {
  const links = documents.flatMap((from) =>
    [...proseOf(from).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link = '']) => ({
      from,
      link,
    })),
  );
  t.ok(links.length > 100);
  t.same(
    links.flatMap(({ from, link }) => problemOf(from, link) ?? []),
    [],
  );
  t.match(problemOf(join(root, 'README.md'), 'docs/none.md'), /there is no docs\/none.md/);
  t.match(problemOf(join(root, 'README.md'), 'docs/install.md#none'), /has no heading none/);
  t.end();
});
