/** All rows as a small picture beside the chart: where one is, and a way to go elsewhere. For runs that need it. */

import { html, show } from "./dom";
import type { Store } from "./model";
import type { Outline } from "./outline";
import { colourOf, type Paint, paint } from "./palette";

export const MINIMAP_FROM = 200; // lines
const WIDTH = 64;
const LEAST_WINDOW = 6; // px
const EVERY_MS = 500;
const BAD: ReadonlySet<string> = new Set(["error", "timeout", "lost"]);

export class Minimap {
  /** Twice what the scrolling itself says: nothing for a screen reader, and no stop for the Tab key. */
  readonly root = html("div", "cb-minimap");
  private readonly canvas = html("canvas");
  private readonly sight = html("div", "cb-sight");
  private drawnAt = Number.NEGATIVE_INFINITY;
  private drawnOf: readonly unknown[] = [];
  private scale = { height: 0, tall: 1 };

  constructor(private readonly scrollTo: (top: number) => void) {
    this.root.setAttribute("aria-hidden", "true");
    this.root.append(this.canvas, this.sight);
    show(this.root, false);
    this.root.addEventListener("pointerdown", (down) => {
      this.root.setPointerCapture(down.pointerId);
      this.go(down);
      down.preventDefault();
    });
    this.root.addEventListener("pointermove", (event) => event.buttons & 1 && this.go(event));
  }

  /** `seen`: what of it is in sight, in px of the chart; `paints`: there is time for the picture; `now` in seconds, `at` on the page's clock. */
  draw(
    store: Store,
    outline: Outline,
    seen: { top: number; height: number },
    now: number,
    at: number,
    paints: boolean,
  ): void {
    const shown = outline.lines.length >= MINIMAP_FROM;
    show(this.root, shown);
    if (!shown) return;
    const { height } = seen;
    this.scale = { height, tall: Math.max(1, outline.height) };
    const part = height / this.scale.tall;
    this.sight.style.top = `${Math.min(height - LEAST_WINDOW, seen.top * part)}px`;
    this.sight.style.height = `${Math.max(LEAST_WINDOW, height * part)}px`;
    if (!paints) return;
    // Live rows need no better: it is a picture of thousands. Another outline or size shows at once.
    const same = outline === this.drawnOf[0] && height === this.drawnOf[1];
    if (same && at - this.drawnAt < EVERY_MS) return;
    // Asked for seldom: the page must settle its styles for it.
    const of = [outline, height, store.snapshot, getComputedStyle(this.root).color];
    this.drawnAt = at;
    if (of.every((what, i) => what === this.drawnOf[i])) return;
    this.drawnOf = of;
    this.paint(store, outline, height, now);
  }

  private paint(store: Store, outline: Outline, height: number, now: number): void {
    const sharp = Math.min(2, globalThis.devicePixelRatio || 1);
    this.canvas.width = WIDTH * sharp;
    this.canvas.height = height * sharp;
    const ink = this.canvas.getContext("2d");
    if (!ink) return;
    ink.scale(sharp, sharp);
    const style = getComputedStyle(this.root);
    const colours = new Map<Paint, string>();
    const down = height / this.scale.tall;
    const across = (WIDTH - 6) / Math.max(now, 1e-3);
    let last: Paint = "none";
    for (let i = 0; i < outline.lines.length; i++) {
      const row = store.row(outline.lines[i]?.id ?? -1);
      if (!row?.segments.length) continue;
      const [y, tall] = [outline.top(i) * down, Math.max(0.7, outline.heightOf(i) * down * 0.8)];
      for (const s of row.segments) {
        if (s.start === null) continue;
        const kind = BAD.has(s.outcome) ? "bad" : row.kind === "undo" ? "undo" : paint(s);
        if (kind !== last) {
          const colour = colours.get(kind) ?? style.getPropertyValue(colourOf(kind));
          colours.set(kind, colour);
          ink.fillStyle = colour;
          last = kind;
        }
        ink.fillRect(3 + s.start * across, y, Math.max(1, ((s.end ?? now) - s.start) * across), tall);
      }
    }
  }

  private go(event: PointerEvent): void {
    const y = event.clientY - this.root.getBoundingClientRect().top;
    const { height, tall } = this.scale;
    this.scrollTo((y / height) * tall - height / 2);
  }
}
