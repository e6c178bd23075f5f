/**
 * The page of a link: what the model wants to do, in full, and two buttons; made for a phone.
 * Invariants: the page runs no script and loads nothing. Every text of the model is escaped, and characters that could hide
 * or turn text are shown by their numbers. The page grows no faster than the input: only values of few levels are indented.
 */
import type { BerthError } from '../../shared/errors.ts';
import { isDeeperThan } from '../../shared/json-depth.ts';
import type { ApprovalView } from '../jobs/approval-view.ts';

export const pageStyle = `
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem;color:#111;background:#fff}
h1{font-size:1.4rem;margin:.2rem 0 1rem}h2{font-size:.9rem;margin:1rem 0 .2rem;color:#444}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;border:1px solid #ccc;padding:.6rem;margin:0}
form{display:flex;gap:1rem;margin:1.5rem 0}button{flex:1;font:inherit;font-weight:600;padding:1rem;border-radius:.4rem;border:1px solid}
.allow{background:#1b6e3a;color:#fff}.deny{background:#fff;color:#a11}dl{color:#444;font-size:.9rem}dd{margin:0 0 .3rem}dt{font-weight:600}
@media(prefers-color-scheme:dark){body{background:#111;color:#eee}pre{background:#222;border-color:#444}h2,dl{color:#bbb}.deny{background:#111;color:#f88}}
`;

/** Levels of a value that is indented. */
const mostIndented = 20;

export function approvalPage(view: ApprovalView): string {
  return page(
    `Allow ${escaped(view.tool)}?`,
    `${inputOf(view)}
<form method="post">
<button class="deny" name="decision" value="deny">Deny</button>
<button class="allow" name="decision" value="allow">Allow once</button>
</form>
${aboutOf(view)}`,
  );
}

/** Also for an approval that has ended in another way. */
export function decidedPage(view: ApprovalView): string {
  const what = {
    pending: 'This call waits for a decision',
    allowed: 'This call was allowed',
    denied: 'This call was denied',
    timed_out: 'Time is over: this call was denied',
    ended: 'The turn of this call has ended',
  }[view.state];
  return page(what, `${inputOf(view)}${aboutOf(view)}`);
}

export function errorPage({ code, message }: BerthError): string {
  const text =
    code === 'approval_not_found'
      ? 'This link is not valid. It may be too old, or a part of it may be missing.'
      : message;
  return page('Not decided', `<p>${escaped(text)}</p>`);
}

function inputOf({ input }: ApprovalView): string {
  return Object.entries(input)
    .map(([name, value]) => {
      const indent = isDeeperThan(value, mostIndented) ? 0 : 2;
      const text = typeof value === 'string' ? value : JSON.stringify(value, null, indent);
      return `<h2>${escaped(name)}</h2>\n<pre>${escaped(text)}</pre>`;
    })
    .join('\n');
}

function aboutOf(view: ApprovalView): string {
  const rows: [string, string | null][] = [
    ['Profile', view.profile],
    ['Sent by', view.token],
    ['Job', view.job_id],
    ['Session', view.session_id],
    ['Denied without an answer at', view.expires_at],
    ['Approval', view.id],
  ];
  const shown = rows.flatMap(([name, value]) =>
    value === null ? [] : [`<dt>${name}</dt><dd>${escaped(value)}</dd>`],
  );
  return `<dl>${shown.join('')}</dl>`;
}

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>berth: ${title}</title><style>${pageStyle}</style></head>
<body><h1>${title}</h1>
${body}
</body></html>
`;
}

/** Control and format characters, such as those that turn the direction of text, but no tab and no line break. */
const invisible = /[^\P{C}\t\n]|[\u115f\u1160\u2800\u3164\uffa0]/gu;

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text
    .replace(invisible, (sign) => `\\u{${sign.codePointAt(0)?.toString(16)}}`)
    .replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
}
