/** Where a choice stays: the cell's own line, which only its person can change, or the configuration file. */

import { CodeLine } from "./copy";
import { button, html, show, text } from "./dom";
import type { Keep } from "./model";

export interface KeepActs {
  keep(where: "cell" | "configuration", confirmed: boolean): void;
  shut(): void;
}

export class KeepBox {
  readonly root = html("div", "cb-keepbox");
  private readonly cells = html("div");
  private readonly told = html("div", "cb-mut");
  private readonly path = html("div");
  private readonly code = new CodeLine("Copy these lines");
  private readonly cell: HTMLButtonElement;
  private readonly file: HTMLButtonElement;
  private readonly confirm: HTMLButtonElement;
  private drawn: Keep | null | undefined;

  constructor(acts: KeepActs) {
    this.cell = button("cb-button cb-keep-cell", "In the cell", () => acts.keep("cell", false));
    this.file = button("cb-button cb-keep-file", "In the configuration", () => acts.keep("configuration", false));
    this.confirm = button("cb-button cb-apply cb-keep-confirm", "Write it", () => acts.keep("configuration", true));
    const shut = button("cb-button", "Close", () => acts.shut());
    const ways = html("div", "cb-go");
    ways.append(this.cell, this.file, shut);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Keep this choice");
    this.root.append(html("div", "cb-strong", "Keep this choice"), ways, this.cells, this.path, this.code.root);
    this.root.append(this.told, this.confirm);
    this.root.hidden = true;
  }

  /** `null`: nothing was asked for yet. True where there is more to see than before. */
  draw(open: boolean, kept: Keep | null): boolean {
    show(this.root, open);
    if (!open || kept === this.drawn) return false;
    this.drawn = kept;
    const lines = kept?.lines ?? [];
    this.cells.replaceChildren(
      ...lines.flatMap((line) => {
        const now = new CodeLine("Copy the new line");
        now.draw(line.new);
        const where = html(
          "div",
          "cb-mut cb-where",
          line.where ? `${line.where}: put this line there, and run the cell` : "",
        );
        const old = html("code", "cb-code cb-old", line.old);
        old.setAttribute("aria-label", `now: ${line.old}`);
        return line.old && line.old !== line.new ? [where, old, now.root] : [where, now.root];
      }),
    );
    text(this.path, kept?.path ? `${kept.done ? "In" : "Into"} ${kept.path}:` : "");
    this.code.draw(kept?.code ?? "");
    text(this.told, kept?.text ?? "");
    show(this.path, Boolean(kept?.path));
    show(this.told, Boolean(kept?.text));
    show(this.confirm, Boolean(kept?.path) && !kept?.done);
    return kept !== null;
  }

  focus(): void {
    this.cell.focus();
  }
}
