/**
 * The key of a history: a hash over its scope and its messages, one after the other. A client that sends its whole
 * history each time finds its session by the key of all messages before the new one.
 * Invariants: histories of different tokens, profiles, models or instructions have different keys. White space around a
 * message does not count, because clients trim it. No text can be read from a key.
 */
import { createHash } from 'node:crypto';
import type { Message } from './message.ts';

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
export function extendKey(key: string, { role, text }: Message): string {
  return hash([key, role, text.trim()]);
}

/** The key of a history. */
export function historyKey(scope: string, messages: readonly Message[]): string {
  return joined(messages).reduce(extendKey, scope);
}

/** Neighbours of one role are one message. */
function joined(messages: readonly Message[]): Message[] {
  const all: Message[] = [];
  for (const { role, text } of messages) {
    const last = all.at(-1);
    if (last?.role === role) last.text += `\n\n${text}`;
    else all.push({ role, text });
  }
  return all;
}

/** 128 bits, in hex digits. */
function hash(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
