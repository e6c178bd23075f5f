import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import {
  commonFields,
  eventsOfBoth,
  eventsOfInit,
  eventsOfSupervisor,
  eventsOfWriteBack,
  optionalFields,
  promptFields,
} from '../../shared/events.ts';

const root = join(import.meta.dirname, '../..');
const lists = [eventsOfBoth, eventsOfInit, eventsOfSupervisor, eventsOfWriteBack];
type Event = (typeof eventsOfBoth)['started'];
const events: Record<string, Event> = Object.assign({}, ...lists);

interface Use {
  file: string;
  name: string;
  /** Undefined if it is not said in place. */
  level: string | undefined;
  /** Those that are said in place. */
  fields: string[];
}

/** Each call of a log in the sources that names an event. */
const uses = globSync('{shared,init,supervisor}/**/*.ts', { cwd: root }).flatMap((file) => {
  const found: Use[] = [];
  const look = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const { expression: called, arguments: given } = node;
      const [name, , fields] = given;
      const isLog =
        (ts.isPropertyAccessExpression(called) || ts.isElementAccessExpression(called)) &&
        /\blog$/i.test(called.expression.getText());
      if (isLog && name && ts.isStringLiteral(name)) {
        const level = ts.isPropertyAccessExpression(called) ? called.name.text : undefined;
        found.push({ file, name: name.text, level, fields: fields ? namesIn(fields) : [] });
      }
    }
    ts.forEachChild(node, look);
  };
  const text = readFileSync(join(root, file), 'utf8');
  look(ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true));
  return found;
});

function namesIn(fields: ts.Expression): string[] {
  if (!ts.isObjectLiteralExpression(fields)) return [];
  return fields.properties.flatMap(({ name }) => (name ? [name.getText()] : []));
}

const anywhere = [...Object.keys(optionalFields), ...Object.keys(promptFields)];

t.test('every event that is logged is described, with its levels and fields', (t) => {
  t.ok(uses.length > 100, 'the calls are found');
  const problems = uses.flatMap(({ file, name, level, fields }) => {
    const event = events[name];
    if (!event) return [`${file} logs ${name}`];
    const known = [...event.fields, ...anywhere];
    return [
      ...(level && !event.levels.includes(level) ? [`${file} logs ${name} at ${level}`] : []),
      ...fields
        .filter((field) => !known.includes(field))
        .map((field) => `${file}: ${name}.${field}`),
    ];
  });
  t.same(problems, []);
  t.end();
});

t.test('every event that is described is logged, and stands in one list', (t) => {
  t.equal(Object.keys(events).length, lists.flatMap((list) => Object.keys(list)).length);
  const problems = Object.entries(events).flatMap(([name, { levels, means, fields }]) => {
    const found = uses.filter((use) => use.name === name);
    const told = new Set(found.map(({ level }) => level));
    return [
      ...(found.length === 0 ? [`${name} is never logged`] : []),
      ...(told.has(undefined) ? [] : levels.filter((level) => !told.has(level))).map(
        (level) => `${name} is never logged at ${level}`,
      ),
      ...fields.filter((field) => field in commonFields || field in optionalFields),
      ...[name, ...fields].filter((word) => !/^[a-z][a-z_]*$/.test(word)),
      ...(/^\S[^|\n]*[^.|\n]$/.test(means) ? [] : [`${name}: ${means}`]),
    ];
  });
  t.same(problems, []);
  t.end();
});
