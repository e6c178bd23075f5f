/**
 * `npm run soak:memory`: 50 leaks that are ended in a cgroup of 1 GiB, and prints how
 * berth came through. Ends with 1 if the kernel killed or a prompt had no answer. Needs root. Options:
 * --leaks N, --json.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { countAnswers, type Leak, leakInTurn } from './memory-leaks.ts';

const { values } = parseArgs({
  options: {
    leaks: { type: 'string', default: '50' },
    json: { type: 'boolean', default: false },
  },
});
const rates = [200, 60, 200, 60, 200, 60, 200, 60, 200, 10];
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-memory-'));
const figures: { name: string; value: number; unit: string; target?: number; ok: boolean }[] = [];
const tell = (name: string, value: number, target?: number): void => {
  const ok = target === undefined || value <= target;
  figures.push({ name, value, unit: '', ok, ...(target === undefined ? {} : { target }) });
  process.stdout.write(`${name}: ${value}${ok ? '' : `, and ${target} is allowed`}\n`);
};
const emptyDirectory = (name: string): string => {
  mkdirSync(join(directory, name));
  return join(directory, name);
};

try {
  const all = Array.from({ length: Number(values.leaks) }, (_, index) => rates[index % 10] ?? 60);
  const onLeak = ({ rate, reply, detection }: Leak): void => {
    const answer = `${reply.status}, recycled ${String(reply.body.recycled)}`;
    process.stdout.write(`${rate} MB/s: ${answer}, seen ${Math.round(detection)} ms after hard\n`);
  };
  const leaks = await leakInTurn({ directory: emptyDirectory('leaks'), rates: all, onLeak });
  const replies = [...leaks.leaks.map(({ reply }) => reply), ...leaks.others];
  const late = leaks.leaks.filter(({ detection }) => detection > 500).length;
  process.stdout.write(`leaking turns: ${countAnswers(leaks.leaks.map(({ reply }) => reply))}\n`);
  process.stdout.write(`other turns: ${countAnswers(leaks.others)}\n`);
  tell('leaks', leaks.leaks.length);
  tell('kernel kills', leaks.kernelKills, 0);
  tell('lost turns', replies.filter(({ status }) => status !== 200).length, 0);
  tell('detected later than 500 ms', late, 0);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (values.json) process.stdout.write(`${JSON.stringify({ figures, node: process.version })}\n`);
process.exitCode = figures.every(({ ok }) => ok) ? 0 : 1;
