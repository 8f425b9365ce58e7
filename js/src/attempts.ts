/** The attempts of a step as a small table: shown where there is more than one to tell of. */

import { html, show } from "./dom";
import { duration, outcomeName, partsOf, ran } from "./format";
import type { Row, Segment } from "./model";

/** Why an attempt was followed by another, as far as its row says. */
function why(segment: Segment, next: Segment | undefined): string {
  if (!next) return "";
  const elsewhere = next.where !== segment.where;
  if (segment.outcome === "ok" || segment.outcome === "cancelled")
    return elsewhere ? `moved to ${next.where}` : "run again";
  return elsewhere ? `went on at ${next.where}` : "tried again";
}

export class Attempts {
  readonly root = html("table", "cb-table cb-attempts");
  private readonly body = html("tbody");
  private drawn = "";

  constructor() {
    const head = html("thead");
    const row = html("tr");
    for (const name of ["Try", "Where", "Outcome", "Time", "Then"]) {
      const cell = html("th", name === "Time" ? "cb-right" : "", name);
      cell.scope = "col";
      row.append(cell);
    }
    head.append(row);
    const caption = html("caption", "", "Attempts");
    this.root.append(caption, head, this.body);
  }

  draw(row: Row, now: number): void {
    const list = row.kind === "decision" ? [] : row.segments;
    const shown = list.length > 1;
    show(this.root, shown);
    if (!shown) return;
    const lines = list.map((s, i) => {
      const outcome = s.outcome === "ok" ? "succeeded" : outcomeName(s.outcome);
      return [String(s.attempt), s.where, outcome, duration(ran(s, now)), why(s, list[i + 1])];
    });
    const key = JSON.stringify(lines);
    if (key === this.drawn) return;
    this.drawn = key;
    this.body.replaceChildren(
      ...lines.map((cells, i) => {
        const line = html("tr");
        line.append(...cells.map((cell, column) => html("td", column === 3 ? "cb-num cb-right" : "", cell)));
        const tried = list[i];
        const took = line.children[3];
        if (tried?.fetch && took instanceof HTMLElement) took.title = partsOf(tried, now);
        const outcome = tried?.outcome ?? "";
        line.classList.toggle("cb-went-wrong", !["ok", "running", "cancelled"].includes(outcome));
        return line;
      }),
    );
  }
}
