import t from 'tap';
import { nearest } from '../../shared/nearest.ts';

t.test('a misspelt name leads to the known one', async (t) => {
  const known = ['BERTH_REPO', 'BERTH_REF', 'BERTH_HTTP_LISTEN'];
  t.equal(nearest('BERTH_RPEO', known), 'BERTH_REPO');
  t.equal(nearest('BERTH_HTTP_LISTN', known), 'BERTH_HTTP_LISTEN');
});

t.test('a name that is like none leads to none', async (t) => {
  t.equal(nearest('main', ['develop', 'production']), undefined);
  t.equal(nearest('main', []), undefined);
});
