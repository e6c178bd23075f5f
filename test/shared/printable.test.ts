import t from 'tap';
import { printable } from '../../shared/printable.ts';

t.test('what a terminal would interpret is shown as an escape', async (t) => {
  t.equal(printable('a\u001b[31mred\u0007'), 'a\\u001b[31mred\\u0007');
  t.equal(printable('file\u202egpj.exe'), 'file\\u202egpj.exe');
  t.equal(printable('one\ntwo\u2028'), 'one\\u000atwo\\u2028');
});

t.test('other text stays, and JSON keeps its meaning', async (t) => {
  t.equal(printable('naïve 日本 🙂'), 'naïve 日本 🙂');
  const json = '{"name":"a\u009bb"}';
  t.same(JSON.parse(printable(json)), JSON.parse(json));
});
