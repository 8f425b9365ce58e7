/** How a failed attempt is looked into where the notebook is: the line for a cell, in which a debugger can follow. */

import { CodeLine } from "./copy";
import { button, html, show, text } from "./dom";
import type { ReplayLine, Row } from "./model";

/** Whether a row failed on a worker, by its own code. */
export function replays(row: Row): boolean {
  const last = row.segments.at(-1);
  const began = last !== undefined && last.start !== null && last.outcome === "error";
  return row.kind === "step" && row.status === "failed" && row.remote && began;
}

export class ReplayBox {
  readonly root = html("div", "cb-replaybox");
  private readonly told = html("div", "cb-mut");
  private readonly code = new CodeLine("Copy this line");

  constructor(shut: () => void) {
    const go = html("div", "cb-go");
    go.append(button("cb-button cb-replay-shut", "Close", shut));
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Replay here");
    this.root.append(this.told, this.code.root, go);
    this.root.hidden = true;
  }

  get open(): boolean {
    return !this.root.hidden;
  }

  draw(line: ReplayLine | null): void {
    show(this.root, line !== null);
    text(this.told, line?.text ?? "");
    this.code.draw(line?.code ?? "");
  }

  focus(): void {
    this.root.scrollIntoView?.({ block: "nearest" });
    this.code.focus();
  }
}
