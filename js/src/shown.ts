/**
 * What a step displayed. It was made by code that may run anywhere, so nothing of it becomes part of this page: an
 * image is drawn as an image, HTML stands in a frame of its own that runs nothing and loads nothing, all else is text.
 */

import { html } from "./dom";

export type Bundle = Readonly<Record<string, string>>;

const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/svg+xml"];
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;
/** Before anything of it is read; a frame without rights needs no second lock, but costs nothing. */
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:";
const LOOKS = "body{font:13px/1.4 system-ui,sans-serif;margin:4px;background:#fff;color:#111}td,th{padding:2px 8px}";

/** Which display a piece of output is, as attempt and number; empty for what was printed. */
export function shownIn(stream: string): string {
  return /^shown (\d+\.\d+)$/.exec(stream)?.[1] ?? "";
}

/** A bundle as something to look at; the text where there is nothing better. */
export function drawn(bundle: Bundle, plain: string): HTMLElement {
  for (const mime of IMAGES) {
    const data = bundle[mime];
    if (data && BASE64.test(data)) return image(mime, data, plain);
  }
  const markup = bundle["text/html"];
  if (!markup) return html("span", "", plain);
  if (!/<script/i.test(markup)) return frame(markup, plain);
  const both = html("span"); // what draws itself by a script is not seen: why is
  both.append(frame(markup, plain), html("span", "cb-mut", `${plain.trim()}: scripts in it are not run here\n`));
  return both;
}

function image(mime: string, data: string, plain: string): HTMLElement {
  const node = html("img", "cb-shown");
  node.alt = plain.trim();
  node.src = `data:${mime};base64,${data.replace(/\s/g, "")}`;
  return node;
}

function frame(markup: string, plain: string): HTMLElement {
  const node = html("iframe", "cb-shown");
  node.setAttribute("sandbox", ""); // first: no scripts, no forms, no links that leave, an origin of its own
  node.setAttribute("referrerpolicy", "no-referrer");
  node.title = plain.trim();
  const head = `<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">`;
  node.srcdoc = `<!doctype html>${head}<style>${LOOKS}</style>${markup}`;
  return node;
}
