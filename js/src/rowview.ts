/** One row of the chart: owns its `<g>`, and touches only what differs. */

import { attr, svg, text } from "./dom";
import { spoken } from "./format";
import type { Label, Mark, Paint, Picture } from "./layout";
import type { Row } from "./model";

export interface Look {
  y: number;
  height: number;
  width: number;
  name: string;
  active: boolean;
  selected: boolean;
  hatch: Readonly<Record<Paint, string>>;
}

export class RowView {
  readonly root = svg("g", { class: "cb-row", role: "button", "aria-haspopup": "menu" });
  private readonly tooltip = svg("title");
  private readonly band = svg("rect", { class: "cb-band", x: 0, y: 0 });
  private readonly ring = svg("rect", { class: "cb-ring", x: 1.5, y: 1.5, rx: 3 });
  private readonly name = svg("text", { class: "cb-name", x: 14 });
  private readonly bars = svg("g");
  private readonly label = svg("text", { class: "cb-label" });
  private row: Row | null = null;

  constructor() {
    this.root.append(this.tooltip, this.band, this.name, this.bars, this.label, this.ring);
  }

  update(row: Row, picture: Picture, look: Look): void {
    if (row !== this.row) this.describe(row);
    attr(this.root, "transform", `translate(0 ${look.y})`);
    attr(this.root, "tabindex", look.active ? 0 : -1);
    this.root.classList.toggle("cb-selected", look.selected);
    attr(this.band, "width", look.width);
    attr(this.band, "height", look.height);
    attr(this.ring, "width", look.width - 3);
    attr(this.ring, "height", look.height - 3);
    const middle = look.height / 2;
    attr(this.name, "y", middle + 4);
    text(this.name, look.name);
    this.drawMarks(picture.marks, middle, look);
    this.drawLabel(picture.label, middle);
  }

  hover(tip: string): void {
    text(this.tooltip, tip);
  }

  /** Where a menu may stand: beside the last bar, or the name if there is none. */
  anchor(): Element {
    return this.bars.lastElementChild ?? this.name;
  }

  private describe(row: Row): void {
    this.row = row;
    attr(this.root, "aria-label", spoken(row));
    attr(this.root, "data-step", row.step);
    attr(this.root, "data-status", row.status);
    attr(this.root, "data-executor", row.where);
    attr(this.root, "data-attempt", row.attempt);
    attr(this.root, "data-id", row.id);
  }

  private drawMarks(marks: readonly Mark[], middle: number, look: Look): void {
    while (this.bars.childElementCount > marks.length) this.bars.lastElementChild?.remove();
    marks.forEach((mark, i) => {
      const node = this.bars.children[i] ?? this.bars.appendChild(svg("path"));
      attr(node, "class", `cb-mark cb-${mark.kind} cb-p-${mark.paint}${mark.past ? " cb-past" : ""}`);
      attr(node, "d", shape(mark, middle, look.height >= 30 ? 8 : 6.5));
      attr(node, "fill", mark.kind === "bar" || mark.kind === "ghost" ? look.hatch[mark.paint] : "none");
    });
  }

  private drawLabel(label: Label, middle: number): void {
    attr(this.label, "x", label.x.toFixed(1));
    attr(this.label, "y", middle + 4);
    attr(this.label, "text-anchor", label.anchor);
    this.label.classList.toggle("cb-inside", label.inside);
    text(this.label, label.text);
  }
}

function shape(mark: Mark, middle: number, half: number): string {
  const { x, width: w } = mark;
  if (mark.kind === "cross") {
    return `M${n(x - 4)} ${middle - 4}l8 8m0 -8l-8 8`;
  }
  if (mark.kind === "dot") {
    return `M${n(x - 3)} ${middle}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`;
  }
  const h = mark.kind === "queue" || mark.kind === "ghost" ? half - 0.5 : half;
  const r = Math.min(2.5, w / 2);
  const a = (dx: number, dy: number): string => `a${n(r)} ${n(r)} 0 0 1 ${n(dx)} ${n(dy)}`;
  const across = n(w - 2 * r);
  const down = n(2 * h - 2 * r);
  return `M${n(x + r)} ${n(middle - h)}h${across}${a(r, r)}v${down}${a(-r, r)}h-${across}${a(-r, -r)}v-${down}${a(r, -r)}z`;
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}
