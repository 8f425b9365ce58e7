/** The axis, and what stands behind and before the bars: grid, cuts, now, the end that is known. */

import { attr, svg, text } from "./dom";
import { duration } from "./format";
import { AXIS_HEIGHT } from "./layout";
import { type Cut, type Frame, position, ticks } from "./time";

const CUT_LABEL = 44; // px that "12 h" needs

export class TimeLayer {
  readonly axis = svg("svg", { class: "cb-axis", height: AXIS_HEIGHT, "aria-hidden": "true" });
  readonly grid = svg("path", { class: "cb-grid" });
  readonly cuts = svg("path", { class: "cb-cut" });
  readonly lines = svg("g", { class: "cb-lines" });
  private readonly labels = svg("g");
  private readonly cutLabels = svg("g");
  private readonly nowLine = svg("path", { class: "cb-now" });
  private readonly endLine = svg("path", { class: "cb-finish" });
  private readonly windowBox = svg("rect", { class: "cb-window", y: 0, height: AXIS_HEIGHT, width: 0 });

  constructor() {
    this.lines.append(this.endLine, this.nowLine);
    const tip = svg("title");
    tip.textContent = "Drag to look at a part of the time, click twice for all of it";
    this.axis.append(tip, svg("rect", { class: "cb-band", width: "100%", height: AXIS_HEIGHT }));
    this.axis.append(this.windowBox, this.labels, this.cutLabels);
  }

  draw(f: Frame, now: number, running: boolean, finish: number | null, tall: number): void {
    attr(this.axis, "width", f.width);
    const gaps = (f.squeeze?.cuts ?? []).filter((cut) => cut.to > f.from && cut.from < f.to);
    const places = gaps.map((cut) => (position(f, cut.from) + position(f, cut.to)) / 2);
    const found = ticks(f);
    const labelled = found.map(({ x }) => !places.some((at) => Math.abs(at - x) < CUT_LABEL));
    fill(this.labels, found.length, "cb-tick", (node, i) => {
      const { x = 0, label = "" } = found[i] ?? {};
      attr(node, "x", x.toFixed(1));
      text(node, labelled[i] ? label : "");
    });
    fill(this.cutLabels, gaps.length, "cb-tick cb-gap", (node, i) => {
      attr(node, "x", (places[i] ?? 0).toFixed(1));
      text(node, shortly(gaps[i]));
    });
    attr(this.grid, "d", found.map((t) => `M${Math.round(t.x) + 0.5} 0V${tall}`).join(""));
    attr(this.cuts, "d", gaps.map((cut) => band(f, cut, tall)).join(""));
    attr(this.nowLine, "d", running ? upright(f, now, tall) : "");
    attr(this.endLine, "d", running && finish !== null && finish > now ? upright(f, finish, tall) : "");
  }

  window(from: number, to: number): void {
    attr(this.windowBox, "x", Math.min(from, to).toFixed(1));
    attr(this.windowBox, "width", Math.abs(to - from).toFixed(1));
  }
}

function fill(group: SVGGElement, count: number, name: string, draw: (node: Element, i: number) => void): void {
  while (group.childElementCount > count) group.lastElementChild?.remove();
  for (let i = 0; i < count; i++) {
    const make = (): Element => svg("text", { class: name, y: 19, "text-anchor": "middle" });
    draw(group.children[i] ?? group.appendChild(make()), i);
  }
}

function upright(f: Frame, seconds: number, tall: number): string {
  const x = position(f, seconds).toFixed(1);
  return seconds >= f.from && Number(x) < f.width ? `M${x} 0V${tall}` : "";
}

function band(f: Frame, { from, to }: Cut, tall: number): string {
  const [a, b] = [Math.max(f.left, position(f, from)), position(f, to)];
  return `M${a.toFixed(1)} 0H${b.toFixed(1)}V${tall}H${a.toFixed(1)}z`;
}

/** "⋯ 12 h": how long nothing ran, in one unit. */
function shortly(cut: Cut | undefined): string {
  const seconds = cut ? cut.to - cut.from : 0;
  if (seconds < 90) return `⋯ ${duration(seconds * 1000)}`;
  return seconds < 5400 ? `⋯ ${Math.round(seconds / 60)} min` : `⋯ ${Math.round(seconds / 3600)} h`;
}
