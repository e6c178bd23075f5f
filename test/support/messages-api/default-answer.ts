/**
 * What the stand-in says when nobody scripted it: enough for a person who tries berth to see that
 * the prompt, CLAUDE.md and the skills reached the model. It always begins with "[stand-in] ".
 */
import {
  blocksOf,
  type ContentBlock,
  findPrompt,
  type RecordedRequest,
  systemText,
} from './request.ts';

export function defaultAnswer(request: RecordedRequest): string {
  const prompt = findPrompt(request.body);
  const result = toolResult(request, prompt?.index ?? 0);
  if (result !== undefined) return `[stand-in] The tool answered: ${result}`;
  const text = prompt?.text ?? '';
  const system = systemText(request);
  if (/\bskills?\b/i.test(text)) return describeSkills(system);
  const instruction = firstInstruction(system);
  const sent = instruction
    ? `I was sent CLAUDE.md, which begins: ${instruction}`
    : 'I was sent no CLAUDE.md.';
  return `[stand-in] You said: ${shorten(text, 200)}\n${sent}`;
}

/** Any value that fits a JSON schema, as far as the CLI's own schemas go. */
export function exampleOf(schema: unknown): unknown {
  const { type, properties, items, enum: choices } = (schema ?? {}) as Record<string, unknown>;
  if (Array.isArray(choices)) return choices[0];
  if (type === 'object' || properties) {
    const entries = Object.entries(properties ?? {});
    return Object.fromEntries(entries.map(([name, value]) => [name, exampleOf(value)]));
  }
  if (type === 'array') return [exampleOf(items)];
  if (type === 'number' || type === 'integer') return 1;
  if (type === 'boolean') return false;
  return 'Stand-in';
}

function describeSkills(system: string): string {
  const skills = skillsIn(system);
  if (skills.length === 0) return '[stand-in] I was sent no skills.';
  const lines = skills.map(({ name, description }) => `- ${name}: ${shorten(description, 80)}`);
  return `[stand-in] I was sent ${skills.length} skills:\n${lines.join('\n')}`;
}

/** The CLI lists a skill a line, the user's own first: `- folder (name): description`. */
function skillsIn(system: string): { name: string; description: string }[] {
  const list = /^The following skills are available[^\n]*\n\n([\s\S]*?)(?:\n\n|$(?![\s\S]))/m;
  const lines = list.exec(system)?.[1]?.split('\n') ?? [];
  return lines.flatMap((line) => {
    const entry = /^- (\S+)(?: \([^)]*\))?: (.*)$/.exec(line);
    return entry ? [{ name: entry[1] ?? '', description: entry[2] ?? '' }] : [];
  });
}

/** The first line of the first CLAUDE.md that says something, headings aside. */
function firstInstruction(system: string): string | undefined {
  const content = /^Contents of [^\n]*CLAUDE\.md[^\n]*:\n([\s\S]*)/m.exec(system)?.[1];
  const ended = content?.split(/^(?:Contents of |<\/system-reminder>)/m)[0] ?? '';
  const lines = ended.split('\n').map((line) => line.trim());
  const said = lines.filter((line) => line !== '');
  return said.find((line) => !line.startsWith('#')) ?? said[0];
}

/** The text of the last tool result in this turn. */
function toolResult(request: RecordedRequest, index: number): string | undefined {
  const result = (request.body?.messages ?? [])
    .slice(index + 1)
    .flatMap((message) => (message.role === 'user' ? blocksOf(message.content) : []))
    .findLast((block) => block.type === 'tool_result');
  if (!result) return undefined;
  const blocks = blocksOf(result.content as string | ContentBlock[] | undefined);
  return blocks.map((block) => block.text ?? `(${block.type})`).join('\n');
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
}
