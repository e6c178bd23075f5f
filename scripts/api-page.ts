/**
 * Makes the page of `/docs` (docs/api.html) from the OpenAPI document.
 * Invariants: the page has no script and loads nothing, so it works without the internet and under
 * the strictest policy. Every text is escaped.
 */

/** The parts of an OpenAPI schema that the page shows. */
interface Schema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  additionalProperties?: unknown;
  $ref?: string;
}

interface Media {
  schema?: Schema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

interface Operation {
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string }[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { description?: string; content?: Record<string, Media> }>;
}

interface Description {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

const style = `
:root { color-scheme: light dark; --line: light-dark(#ddd, #444); --soft: light-dark(#f5f5f3, #222); --accent: light-dark(#0a5c8a, #7cc4ec) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem 1.5rem 4rem }
h1 { font-size: 1.7rem } h1 small { font-weight: normal; opacity: .65; font-size: 1rem }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1.5rem; font-size: 1.15rem }
h2 a { color: inherit; text-decoration: none } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
code, pre { font: 13px/1.45 ui-monospace, monospace } pre { background: var(--soft); padding: .8rem; overflow-x: auto; border-radius: 6px }
.method { background: var(--accent); color: light-dark(#fff, #111); border-radius: 4px; padding: .1rem .45rem; margin-right: .4rem; font-size: .85rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line) }
td:first-child { white-space: nowrap } a { color: var(--accent) } .type { opacity: .65 } summary { cursor: pointer; margin-top: .6rem }
nav ul { list-style: none; padding: 0 }
`;

export function apiPage(document: object): string {
  const { info, paths, components } = document as Description;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      id: `${method}${path}`.replaceAll(/[^a-z0-9]+/gi, '-').replace(/-$/, ''),
      name: `<span class="method">${escaped(method.toUpperCase())}</span><code>${escaped(path)}</code>`,
      operation,
    })),
  );
  const resolve = (schema: Schema): Schema =>
    components?.schemas?.[schema.$ref?.split('/').at(-1) ?? ''] ?? schema;
  const problem = components?.schemas?.Problem;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(info.title)} API</title>
<style>${style}</style>
</head>
<body>
<h1>${escaped(info.title)} <small>${escaped(info.version)}</small></h1>
${prose(info.description)}
<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
<nav><ul>${operations
    .map(
      ({ id, name, operation }) =>
        `<li><a href="#${id}">${name}</a> ${escaped(operation.summary)}</li>`,
    )
    .join('\n')}</ul></nav>
${operations
  .map(
    ({ id, name, operation }) =>
      `<section>\n<h2 id="${id}"><a href="#${id}">${name}</a></h2>\n${operationOf(operation, resolve)}</section>`,
  )
  .join('\n')}
<h2 id="problem">Errors</h2>
${problem ? fieldsOf(problem, resolve) : ''}
</body>
</html>
`;
}

type Resolve = (schema: Schema) => Schema;

function operationOf(operation: Operation, resolve: Resolve): string {
  const parts = [
    `<p><strong>${escaped(operation.summary)}.</strong></p>`,
    prose(operation.description),
  ];
  if (operation.parameters?.length) {
    const rows = operation.parameters.map(
      ({ name, in: place, required, description }) =>
        `<tr><td><code>${escaped(name)}</code> <span class="type">${escaped(place)}${required ? ', required' : ''}</span></td><td>${inline(description)}</td></tr>`,
    );
    parts.push(`<h3>Parameters</h3><table>${rows.join('')}</table>`);
  }
  for (const [type, media] of Object.entries(operation.requestBody?.content ?? {})) {
    parts.push(`<h3>Body <span class="type">${escaped(type)}</span></h3>`, mediaOf(media, resolve));
  }
  for (const [status, { content = {} }] of Object.entries(operation.responses)) {
    if (!status.startsWith('2')) continue;
    for (const [type, media] of Object.entries(content)) {
      parts.push(
        `<h3>Answer ${escaped(status)} <span class="type">${escaped(type)}</span></h3>`,
        mediaOf(media, resolve),
      );
    }
  }
  const problems = Object.entries(operation.responses)
    .filter(([status]) => !status.startsWith('2'))
    .map(
      ([status, { description }]) =>
        `<tr><td><code>${escaped(status)}</code></td><td>${inline(description).replaceAll('. <code>', '.<br><code>')}</td></tr>`,
    );
  parts.push(
    `<details><summary>Errors</summary><table>${problems.join('')}</table><p>What they have: <a href="#problem">Errors</a>.</p></details>`,
  );
  return parts.join('\n');
}

function mediaOf({ schema, example, examples = {} }: Media, resolve: Resolve): string {
  const shown = [example, ...Object.values(examples).map(({ value }) => value)]
    .filter((value) => value !== undefined)
    .map(
      (value) =>
        `<pre>${escaped(typeof value === 'string' ? value : JSON.stringify(value, null, 2))}</pre>`,
    );
  return `${schema ? fieldsOf(resolve(schema), resolve) : ''}${shown.join('\n')}`;
}

function fieldsOf(schema: Schema, resolve: Resolve): string {
  if (schema.oneOf?.[0]?.properties?.event) return eventsOf(schema, resolve);
  const rows = rowsOf(schema, resolve, '', 0);
  return rows.length === 0 ? prose(schema.description) : `<table>${rows.join('\n')}</table>`;
}

/** Renders the events of a stream: a row for each event, with the fields of its data. */
function eventsOf({ description, oneOf = [] }: Schema, resolve: Resolve): string {
  const rows = oneOf.map(({ properties, description: what }) => {
    const data = Object.keys(properties?.data?.$ref ? {} : (properties?.data?.properties ?? {}));
    const fields =
      data.length > 0 && data.length < 8 ? `<br><code>${escaped(data.join(', '))}</code>` : '';
    return `<tr><td><code>${escaped(String(properties?.event?.const))}</code></td><td>${inline(what)}${fields}</td></tr>`;
  });
  return `${prose(resolve({ description: description ?? '' }).description)}<table>${rows.join('\n')}</table>`;
}

const deepest = 4;

function rowsOf(schema: Schema, resolve: Resolve, prefix: string, depth: number): string[] {
  const { properties = {}, required = [] } = objectIn(schema, resolve);
  return Object.entries(properties).flatMap(([key, raw]) => {
    const field = resolve(raw);
    const name = `${prefix}${key}`;
    const inner =
      depth < deepest
        ? rowsOf(field, resolve, `${name}${isArray(field) ? '[]' : ''}.`, depth + 1)
        : [];
    return [
      `<tr><td><code>${escaped(name)}</code> <span class="type">${escaped(typeOf(field))}${required.includes(key) ? '' : ', optional'}</span></td><td>${inline(field.description)}</td></tr>`,
      ...inner,
    ];
  });
}

/**
 * Returns the object schema of a schema: the schema itself, the items of an array, or the
 * alternative to null.
 */
function objectIn(schema: Schema, resolve: Resolve): Schema {
  if (schema.properties) return schema;
  const inner = [schema.items, ...(schema.anyOf ?? [])].find(
    (part) => part && (resolve(part).properties || resolve(part).items),
  );
  return inner ? objectIn(resolve(inner), resolve) : {};
}

function isArray({ type, anyOf = [] }: Schema): boolean {
  return type === 'array' || anyOf.some(isArray);
}

function typeOf({ type, enum: values, anyOf, items, const: only }: Schema): string {
  if (only !== undefined) return JSON.stringify(only);
  if (values && values.length <= 8) return values.join(' | ');
  if (anyOf) return anyOf.map(typeOf).join(' | ');
  if (type === 'array' && items?.type) return `array of ${[items.type].flat().join(' | ')}`;
  return [type ?? 'any'].flat().join(' | ');
}

function prose(text: string | undefined): string {
  return (text ?? '')
    .split('\n\n')
    .filter((paragraph) => paragraph !== '')
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join('\n');
}

/** Renders text whose only markup is code in backquotes. */
function inline(text: string | undefined): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

function escaped(text: string | undefined): string {
  const names: Record<string, string> = {
    '&': 'amp',
    '<': 'lt',
    '>': 'gt',
    '"': 'quot',
    "'": '#39',
  };
  return (text ?? '').replaceAll(/[&<>"']/g, (sign) => `&${names[sign]};`);
}
