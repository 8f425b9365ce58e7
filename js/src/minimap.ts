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

  /** Dot by dot: thousands of shapes would cost several times as much. What failed lies over all that did not. */
  private paint(store: Store, outline: Outline, height: number, now: number): void {
    const sharp = Math.min(2, globalThis.devicePixelRatio || 1);
    const [wide, high] = [Math.round(WIDTH * sharp), Math.max(1, Math.round(height * sharp))];
    this.canvas.width = wide;
    this.canvas.height = high;
    const ink = this.canvas.getContext("2d");
    if (!ink) return;
    const image = ink.createImageData(wide, high);
    const dots = new Uint32Array(image.data.buffer);
    const style = getComputedStyle(this.root);
    const colours = new Map<Paint, number>();
    const colour = (kind: Paint): number => {
      const known = colours.get(kind) ?? bytes(ink, style.getPropertyValue(colourOf(kind)));
      colours.set(kind, known);
      return known;
    };
    const down = high / this.scale.tall;
    const across = ((WIDTH - 6) * sharp) / Math.max(now, 1e-3);
    const fill = (line: number, from: number, to: number, kind: Paint): void => {
      const first = Math.floor(outline.top(line) * down);
      const end = Math.min(
        high,
        Math.max(first + 1, Math.round((outline.top(line) + 0.8 * outline.heightOf(line)) * down)),
      );
      const left = Math.round(3 * sharp + from * across);
      const right = Math.min(wide, Math.max(left + 1, Math.round(3 * sharp + to * across)));
      for (let y = first; y < end; y++) dots.fill(colour(kind), y * wide + left, y * wide + right);
    };
    const bad: (readonly [line: number, from: number, to: number])[] = [];
    outline.lines.forEach(({ id }, line) => {
      const row = store.row(id);
      for (const s of row?.segments ?? []) {
        if (s.start === null) continue;
        const end = s.end ?? now;
        if (BAD.has(s.outcome)) bad.push([line, s.start, end]);
        else fill(line, s.start, end, row?.kind === "undo" ? "undo" : paint(s));
      }
    });
    for (const [line, from, to] of bad) fill(line, from, to, "bad");
    ink.putImageData(image, 0, 0);
  }

  private go(event: PointerEvent): void {
    const y = event.clientY - this.root.getBoundingClientRect().top;
    const { height, tall } = this.scale;
    this.scrollTo((y / height) * tall - height / 2);
  }
}

/** A colour as it lies in the memory of a picture: red in the lowest byte, wholly opaque. */
function bytes(ink: CanvasRenderingContext2D, colour: string): number {
  ink.fillStyle = colour.trim();
  const [, red = "0", green = "0", blue = "0"] = /^#(..)(..)(..)$/.exec(String(ink.fillStyle)) ?? [];
  const [r, g, b] = [red, green, blue].map((part) => Number.parseInt(part, 16)) as [number, number, number];
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
