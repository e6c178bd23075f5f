/** The queries of docs/logs.md, read by Grafana's own parser, and held against the list of events. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parser } from '@grafana/lezer-logql';
import t from 'tap';
import { parse } from 'yaml';
import {
  commonFields,
  eventsOfBoth,
  eventsOfInit,
  eventsOfSupervisor,
  eventsOfWriteBack,
  promptFields,
} from '../shared/events.ts';

const text = readFileSync(join(import.meta.dirname, '../docs/logs.md'), 'utf8');
const blocksOf = (language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, block = '']) => block,
  );
const rules = blocksOf('yaml').flatMap((block) =>
  (parse(block) as { groups: { rules: { expr: string; annotations: object }[] }[] }).groups.flatMap(
    (group) => group.rules,
  ),
);
const queries = [...blocksOf('logql'), ...rules.map(({ expr }) => expr)];
const streamLabels = [
  ...blocksOf('alloy')
    .join()
    .matchAll(/target_label\s*=\s*"(\w+)"/g),
]
  .map(([, label = '']) => label)
  .filter((label) => !label.startsWith('__'));

type LogEvent = (typeof eventsOfBoth)['started'];
const events: Record<string, LogEvent> = {
  ...eventsOfBoth,
  ...eventsOfInit,
  ...eventsOfSupervisor,
  ...eventsOfWriteBack,
};
/** What a query may name of any line; Loki's json parser makes one label of a path. */
const anywhere = [...Object.keys(commonFields), ...Object.keys(promptFields), '__error__'];
const ofErrors = /^error_(?:cause_)*(?:type|code|message)$/;
const services = ['berth', 'berth-init', 'berth-write-back'];

interface Matcher {
  name: string;
  operator: string;
  value: string;
}

interface Read {
  wrong: string[];
  /** Between the braces. */
  selected: Matcher[];
  /** After the parser. */
  filtered: Matcher[];
  /** All names of fields: compared, grouped by, unwrapped, or in a template. */
  names: string[];
}

function read(query: string): Read {
  const found: Read = { wrong: [], selected: [], filtered: [], names: [] };
  parser.parse(query).iterate({
    enter: ({ type, from, to, node }) => {
      const source = query.slice(from, to);
      if (type.isError) found.wrong.push(`not LogQL at ${from}: ${source}`);
      if (type.name === 'Identifier') found.names.push(source);
      if (type.name === 'LineFormatExpr') {
        found.names.push(...[...source.matchAll(/\.([a-z_]+)/g)].map(([, name = '']) => name));
      }
      if (type.name !== 'Matcher') return true;
      const [, name = '', operator = '', value = ''] =
        /^(\w+)\s*([=!~]+)\s*["`](.*)["`]$/s.exec(source) ?? [];
      const isSelector = node.parent?.name === 'Matchers';
      (isSelector ? found.selected : found.filtered).push({ name, operator, value });
      return true;
    },
  });
  return found;
}

/** The words that a matcher wants, or does not want, by its value or its pattern. */
function wanted({ operator, value }: Matcher, known: readonly string[]): string[] {
  if (!operator.includes('~')) return [value];
  const alternatives = value.split('|');
  return alternatives.flatMap((one) => {
    const matching = known.filter((word) => new RegExp(`^(?:${one})$`).test(word));
    return matching.length > 0 ? matching : [one];
  });
}

function problemsOf(query: string): string[] {
  const { wrong, selected, filtered, names } = read(query);
  const valuesOf = (name: string, known: readonly string[]) =>
    filtered.filter((matcher) => matcher.name === name).flatMap((one) => wanted(one, known));
  const named = valuesOf('event', Object.keys(events));
  const meant =
    named.length > 0 ? named.flatMap((name) => events[name] ?? []) : Object.values(events);
  const fields = [...anywhere, ...meant.flatMap(({ fields }) => fields), ...streamLabels];
  const levels = meant.flatMap(({ levels }) => levels);
  return [
    ...wrong,
    ...selected.flatMap(({ name }) => (streamLabels.includes(name) ? [] : `no label ${name}`)),
    ...named.flatMap((name) => (name in events ? [] : `no event ${name}`)),
    ...valuesOf('level', levels).flatMap((level) => (levels.includes(level) ? [] : `no ${level}`)),
    ...valuesOf('service', services).flatMap((one) => (services.includes(one) ? [] : `no ${one}`)),
    ...names.flatMap((name) =>
      fields.includes(name) || ofErrors.test(name) ? [] : `no field ${name}`,
    ),
  ];
}

t.test('every query is LogQL, and each label, event, level and field in it exists', (t) => {
  t.ok(queries.length > 20, 'they are found');
  t.strictSame(streamLabels.toSorted(), ['app', 'container', 'namespace', 'pod']);
  t.same(
    queries.flatMap((query) => problemsOf(query).map((problem) => `${problem}: ${query}`)),
    [],
  );
  t.end();
});

t.test('each mistake in a query is seen', (t) => {
  const mistakes = {
    '{app="berth"} | json | event=': 'not LogQL at 29: ',
    '{application="berth"} | json': 'no label application',
    '{app="berth"} | json | event="turn_finnished"': 'no event turn_finnished',
    '{app="berth"} | json | event=~"turn_finished|crede_.*"': 'no event crede_.*',
    '{app="berth"} | json | event="worker_failed" | level="warn"': 'no warn',
    '{app="berth"} | json | service="berth-serve"': 'no berth-serve',
    '{app="berth"} | json | event="report" | queued_ms > 5': 'no field queued_ms',
    '{app="berth"} | json | event="report" | line_format "{{.comit}}"': 'no field comit',
    'sum by (caller) (count_over_time({app="berth"} | json [1h]))': 'no field caller',
    'sum_over_time({app="berth"} | json | unwrap costs_usd [1h])': 'no field costs_usd',
  };
  for (const [query, problem] of Object.entries(mistakes)) {
    t.ok(problemsOf(query).includes(problem), problemsOf(query).join());
  }
  t.end();
});
