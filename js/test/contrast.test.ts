import { expect, test } from "vitest";
import { style } from "./styles.mjs";

const [base, chart, compare] = [style("base"), style("chart"), style("compare")];

const colours = new Map([...base.matchAll(/(--cb-[\w-]+): (#[0-9a-f]{6});/g)].map((m) => [m[1] ?? "", m[2] ?? ""]));
const BARS = [...colours.keys()].filter((name) => /local|dist|pool|undo|bad|grey|accent/.test(name));

function parts(hex: string): number[] {
  const long = hex.length === 4 ? [...hex.slice(1)].map((c) => c + c).join("") : hex.slice(1);
  return [0, 2, 4].map((i) => Number.parseInt(long.slice(i, i + 2), 16));
}

function light(rgb: number[]): number {
  const [r = 0, g = 0, b = 0] = rgb.map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: number[], b: number[]): number {
  const [high = 0, low = 0] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

function over(colour: number[], ground: number[], share: number): number[] {
  return colour.map((value, i) => value * share + (ground[i] ?? 0) * (1 - share));
}

const WHITE = parts("#ffffff");
const DARK = parts("#111111");
const share = Number(/cb-selected:hover \.cb-band \{[^}]*fill-opacity: ([\d.]+)/.exec(chart)?.[1]);
const accent = parts(colours.get("--cb-accent") ?? "");

test("the palette is as big as the code takes it to be", () => {
  expect(BARS.filter((name) => name.includes("pool")).length).toBe(5);
  expect(share).toBeGreaterThan(0.1);
});

test.each(BARS)("%s can be told from the ground in both themes, also in the selected row", (name) => {
  const colour = parts(colours.get(name) ?? "");
  const grounds = [WHITE, DARK, over(accent, WHITE, share), over(accent, DARK, share)];

  for (const ground of grounds) expect(contrast(colour, ground)).toBeGreaterThanOrEqual(3);
});

test.each([
  ["light", WHITE, over([0, 0, 0], WHITE, 0.87)],
  ["dark", DARK, WHITE],
])("words are readable in the %s theme, also those that step back, also in the selected row", (_, ground, words) => {
  const pale = over(words, ground, 0.7);

  expect(base).toContain("--cb-mut: color-mix(in srgb, var(--cb-fg) 70%, var(--cb-bg));");
  expect(contrast(pale, ground)).toBeGreaterThanOrEqual(4.5);
  expect(contrast(pale, over(accent, ground, share))).toBeGreaterThanOrEqual(4.5);
});

test.each(BARS)("an outline of an earlier run in %s can be told from the ground in both themes", (name) => {
  const share =
    Number(/stroke: color-mix\(in srgb, var\(--c[^%]* ([\d.]+)%, var\(--cb-fg\)\)/.exec(compare)?.[1]) / 100;
  const colour = parts(colours.get(name) ?? "");

  for (const [ground, words] of [
    [WHITE, over([0, 0, 0], WHITE, 0.87)],
    [DARK, WHITE],
  ] as const) {
    const outline = over(colour, words, share);
    expect(contrast(outline, ground)).toBeGreaterThanOrEqual(3);
    expect(contrast(outline, over(accent, ground, 0.14))).toBeGreaterThanOrEqual(3);
  }
});
