/** Which colour and pattern a place has, and how those are made. A pool keeps its look for ever: it is in its name. */

import { svg } from "./dom";

export type Paint = "local" | "dist" | "undo" | "bad" | "badhatch" | "grey" | "none" | `pool-${number}-${number}`;

const COLOURS = 5; // --cb-pool-0 and so on: each at least 3:1 on light, dark and selected ground
const PATTERNS = 4;
const known = new Map<string, Paint>();

/** The look of a pool by its name. Two of one colour still differ by pattern, in 4 of 5 cases by both. */
export function poolPaint(name: string): Paint {
  const found = known.get(name);
  if (found) return found;
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
  const made: Paint = `pool-${hash % COLOURS}-${(hash >>> 12) % PATTERNS}`;
  known.set(name, made);
  return made;
}

/** The colour a place is drawn in; what is not in the kernel has a pattern too. */
export function paint(place: { where: string; remote: boolean }): Paint {
  if (!place.remote) return "local";
  return place.where === "distributed" ? "dist" : poolPaint(place.where);
}

export function isPool(found: Paint): boolean {
  return found.startsWith("pool-");
}

/** The classes that give a mark its colour. */
export function paintClass(found: Paint): string {
  return isPool(found) ? `cb-p-pool cb-pool-${found.split("-")[1]}` : `cb-p-${found}`;
}

/** The custom property that holds a colour. */
export function colourOf(found: Paint): string {
  if (isPool(found)) return `--cb-pool-${found.split("-")[1]}`;
  return `--cb-${found === "badhatch" ? "bad" : found}`;
}

type Look = "hatch" | "back" | "close" | "dots" | "grid" | "bars" | "lattice";

const POOL_LOOKS: readonly Look[] = ["dots", "lattice", "bars", "grid"];

/** Size, turn and stripes of a pattern: [x, y, width, height], or a dot where there is no height. */
const LOOKS: Readonly<Record<Look, { size: number; turn: number; parts: readonly (readonly number[])[] }>> = {
  hatch: { size: 6, turn: 45, parts: [[0, 0, 1.6, 6]] },
  back: { size: 6, turn: 135, parts: [[0, 0, 2, 6]] },
  close: { size: 5, turn: 135, parts: [[0, 0, 1.6, 5]] },
  dots: { size: 5, turn: 0, parts: [[2.5, 2.5, 1.1]] },
  bars: { size: 5, turn: 0, parts: [[0, 0, 1.5, 5]] },
  // biome-ignore format: one stripe beside the other
  grid: { size: 5, turn: 0, parts: [[0, 0, 1, 5], [1, 0, 4, 1]] },
  // biome-ignore format: one stripe beside the other
  lattice: { size: 6, turn: 45, parts: [[0, 0, 1.2, 6], [1.2, 0, 4.8, 1.2]] },
};

/** Patterns, under names of their own: a page may hold many charts, and a hidden one must not take the others' along. */
export class Hatches {
  readonly defs = svg("defs");
  private readonly own = `cb${Math.random().toString(36).slice(2, 10)}`;
  private readonly made = new Map<Paint, string>();

  fill(wanted: Paint): string {
    const known = this.made.get(wanted);
    if (known) return known;
    const made = this.make(wanted);
    this.made.set(wanted, made);
    return made;
  }

  private make(wanted: Paint): string {
    const colour = `var(${colourOf(wanted)})`;
    if (wanted === "none") return "none";
    if (wanted === "local" || wanted === "bad") return colour;
    const pool = isPool(wanted) ? POOL_LOOKS[Number(wanted.split("-")[2])] : undefined;
    const look = pool ?? (wanted === "grey" ? "close" : wanted === "undo" ? "back" : "hatch");
    return this.pattern(wanted, look, colour);
  }

  private pattern(name: Paint, look: Look, colour: string): string {
    const id = `${this.own}-${name}`;
    const { size, turn, parts } = LOOKS[look];
    const box = { width: size, height: size };
    const pattern = svg("pattern", {
      id,
      ...box,
      patternUnits: "userSpaceOnUse",
      patternTransform: `rotate(${turn})`,
    });
    pattern.append(svg("rect", { ...box, fill: colour }));
    for (const [x = 0, y = 0, width = 0, height] of parts) {
      const ink = { fill: "#fff", opacity: height === undefined ? 0.6 : 0.4 };
      if (height === undefined) pattern.append(svg("circle", { cx: x, cy: y, r: width, ...ink }));
      else pattern.append(svg("rect", { x, y, width, height, ...ink }));
    }
    this.defs.append(pattern);
    return `url(#${id})`;
  }
}
