/** How marks become paths. */

import { attr, svg, text } from "./dom";
import type { Mark, MarkKind, Picture } from "./layout";
import { type Hatches, paintClass } from "./palette";

const FILLED: ReadonlySet<MarkKind> = new Set(["bar", "track", "fill", "pause", "ghost", "lane"]);

/** What is common to rows of tasks and of groups: marks in a `<g>`, a label beside them, words within. */
export class Strip {
  readonly bars = svg("g");
  readonly label = svg("text", { class: "cb-label" });
  readonly inner = svg("text", { class: "cb-label cb-inside" });

  draw(picture: Picture, height: number, hatches: Hatches): void {
    const middle = height / 2;
    const { marks, label, inner } = picture;
    while (this.bars.childElementCount > marks.length) this.bars.lastElementChild?.remove();
    marks.forEach((mark, i) => {
      const node = this.bars.children[i] ?? this.bars.appendChild(svg("path"));
      attr(node, "class", `cb-mark cb-${mark.kind} ${paintClass(mark.paint)}${mark.past ? " cb-past" : ""}`);
      attr(node, "d", shape(mark, middle, height >= 30 ? 8 : 6.5));
      attr(node, "fill", FILLED.has(mark.kind) ? hatches.fill(mark.paint) : "none");
    });
    attr(this.label, "x", label.x.toFixed(1));
    attr(this.label, "y", middle + 4);
    attr(this.label, "text-anchor", label.anchor);
    this.label.classList.toggle("cb-inside", label.inside);
    text(this.label, label.text);
    attr(this.inner, "x", (inner?.x ?? 0).toFixed(1));
    attr(this.inner, "y", middle + 4);
    text(this.inner, inner?.text ?? "");
  }
}

function shape(mark: Mark, middle: number, half: number): string {
  const { x, width: w } = mark;
  switch (mark.kind) {
    case "cross":
      return `M${n(x - 4)} ${middle - 4}l8 8m0 -8l-8 8`;
    case "dot":
      return `M${n(x - 3)} ${middle}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`;
    case "choice":
      return `M${n(x - 6)} ${middle}l6 -6l6 6l-6 6z`;
    case "strike":
    case "slack":
      return `M${n(x)} ${middle}h${n(w)}`;
    case "send":
    case "fetch":
      return box(x, middle - 2.5, w, 5, 0.5);
    case "earlier": // above: below is the line of the critical path
      return box(x, middle - half - 5.5, w, 4, 1);
    case "earlierqueue":
      return `M${n(x)} ${n(middle - half - 3.5)}h${n(w)}`;
    case "critical":
      return `M${n(x)} ${n(middle + half + 2.5)}h${n(w)}`;
    case "tail":
      return `M${n(x + 1)} ${middle}h${n(w - 1)}`;
    case "span": {
      // Open, a bracket: its ends turned down, so that it is not taken for work. Closed, a line above the lanes.
      if (mark.lane) return box(x, middle - half - 1, w, 3, 1.5);
      const cap = Math.min(4, w / 2);
      return `M${n(x)} ${n(middle - 3)}h${n(w)}v7l${n(-cap)} -3.5h${n(2 * cap - w)}l${n(-cap)} 3.5z`;
    }
    case "lane": {
      const [place, of] = mark.lane ?? [0, 1];
      const each = (2 * half - 2) / of;
      return box(x, middle - half + 3.5 + place * each, w, each - (of > 1 ? 1 : 0), 1.5);
    }
    default: {
      const h = mark.kind === "queue" || mark.kind === "ghost" || mark.kind === "pause" ? half - 0.5 : half;
      return box(x, middle - h, w, 2 * h, 2.5);
    }
  }
}

function box(x: number, y: number, w: number, h: number, round: number): string {
  const r = Math.min(round, w / 2);
  const a = (dx: number, dy: number): string => `a${n(r)} ${n(r)} 0 0 1 ${n(dx)} ${n(dy)}`;
  const [across, down] = [n(w - 2 * r), n(h - 2 * r)];
  return `M${n(x + r)} ${n(y)}h${across}${a(r, r)}v${down}${a(-r, r)}h-${across}${a(-r, -r)}v-${down}${a(r, -r)}z`;
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}
