/**
 * The key of a history: a hash over its scope and its messages, one after the other. A client that sends its whole
 * history each time finds its session by the key of all messages before the new one.
 * Invariants: histories of different tokens, profiles, models or instructions have different keys. White space around a
 * message does not count, because clients trim it. No text can be read from a key.
 */
import { createHash } from 'node:crypto';
import { digestOf } from '../../shared/digest.ts';
import { type Message, merged } from './message.ts';

/** What two histories must have in common, besides their messages. */
export interface Scope {
  /** The name of the caller's token. */
  token: string;
  profile: string;
  model: string | undefined;
  instructions: string | undefined;
}

export function scopeKey({ token, profile, model, instructions }: Scope): string {
  return hash(['scope', token, profile, model ?? '', instructions?.trim() ?? '']);
}

/** The key of a history with one more message. */
export function extendKey(key: string, { role, text, attachments = [] }: Message): string {
  const files = attachments.map(({ mediaType, data }) => [mediaType, digestOf(data)]);
  return hash([key, role, text.trim(), ...files.flat()]);
}

/** The key of a history; neighbours of one role count as one message. */
export function historyKey(scope: string, messages: readonly Message[]): string {
  const groups: Message[][] = [];
  for (const message of messages) {
    const last = groups.at(-1);
    if (last?.[0]?.role === message.role) last.push(message);
    else groups.push([message]);
  }
  return groups.reduce(
    (key, group) => extendKey(key, { role: group[0]?.role ?? 'user', ...merged(group) }),
    scope,
  );
}

/** 128 bits, in hex digits. */
function hash(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
