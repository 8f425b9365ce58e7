/** How a step failed: the error, the person's own line, and the whole traceback folded. */

import { html, longText, show, text } from "./dom";
import type { Details } from "./model";

/** The last place of a traceback that is in a person's cell, with its line of code. */
export function ownLine(traceback: string): string {
  const lines = traceback.split("\n");
  const at = lines.reduce((last, line, i) => (/^\s*(File .*)?Cell In\[\d+\]/.test(line) ? i : last), -1);
  return at < 0
    ? ""
    : lines
        .slice(at, at + 2)
        .map((line) => line.trim())
        .filter(Boolean)
        .join("\n    ");
}

export class Failure {
  readonly root = html("div", "cb-failure");
  private readonly error = longText("cb-error");
  private readonly own = longText("cb-own");
  private readonly fold = html("details", "cb-fold");
  private readonly trace = longText("cb-trace");
  private shown: Details | null | undefined;

  constructor() {
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Error");
    this.fold.append(html("summary", "", "Traceback"), this.trace);
    this.root.append(this.error, this.own, this.fold);
    this.root.hidden = true;
  }

  draw(details: Details | null): void {
    if (details === this.shown) return;
    this.shown = details;
    const title = details ? [details.error_type, details.error].filter(Boolean).join(": ") : "";
    const trace = details?.traceback.trimEnd() ?? "";
    show(this.root, Boolean(title || trace));
    text(this.error, title || "It failed.");
    text(this.own, ownLine(trace));
    text(this.trace, trace);
    show(this.own, this.own.textContent !== "");
    show(this.fold, trace !== "");
  }
}
