/** What keys do in the chart: from line to line as in every tree, and through time. */

import type { Line } from "./outline";

const ZOOM = 0.625; // of the time that is seen, by one key
const PAN = 0.2; // of the chart's width
const PAGE = 10; // lines

/** The chart as keys know it. A place counts lines from the top, as they are shown. */
export interface KeyHost {
  /** Place of the last line. */
  readonly last: number;
  place(line: Line): number;
  /** Undefined for what is not shown. */
  placeOf(id: number): number | undefined;
  /** Give the focus to the line at a place. */
  go(place: number): void;
  /** As a click on it. */
  press(line: Line): void;
  /** Whether a group's lines are shown. */
  opened(group: Line): boolean;
  fold(group: Line, open: boolean): void;
  /** Close the panel, else show all lines; false where there is nothing to leave. */
  leave(): boolean;
  /** To so much of the time that is seen. */
  zoom(factor: number): void;
  /** By a part of the chart's width. */
  pan(part: number): void;
  fit(): void;
  search(): void;
}

/** Do what a key asks for on a line. False for one that means nothing here: it goes on to the notebook. */
export function pressed(chart: KeyHost, line: Line, event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  return onPicture(chart, event) || (!event.shiftKey && onLine(chart, line, event.key));
}

/** Through time, and to the search: the same on every line. Some keyboards need Shift for these signs. */
function onPicture(chart: KeyHost, { key, shiftKey }: KeyboardEvent): boolean {
  if (key === "+" || key === "=") chart.zoom(ZOOM);
  else if (key === "-" || key === "_") chart.zoom(1 / ZOOM);
  else if (key === "0") chart.fit();
  else if (key === "/") chart.search();
  else if (shiftKey && key === "ArrowLeft") chart.pan(-PAN);
  else if (shiftKey && key === "ArrowRight") chart.pan(PAN);
  else return false;
  return true;
}

/** From line to line, and what can be done with one. */
function onLine(chart: KeyHost, line: Line, key: string): boolean {
  if (key === "Enter" || key === " ") {
    chart.press(line);
    return true;
  }
  if (key === "Escape") return chart.leave();
  const place = chart.place(line);
  const targets: Record<string, number> = {
    ArrowUp: place - 1,
    ArrowDown: place + 1,
    PageUp: place - PAGE,
    PageDown: place + PAGE,
    Home: 0,
    End: chart.last,
  };
  const target = targets[key] ?? sideways(chart, line, key);
  if (target === undefined) return false;
  chart.go(Math.min(chart.last, Math.max(0, target)));
  return true;
}

/** As in every tree: right opens and then goes in, left closes and then goes out. Where to go, if anywhere. */
function sideways(chart: KeyHost, line: Line, key: string): number | undefined {
  if (key !== "ArrowRight" && key !== "ArrowLeft") return undefined;
  const group = line.id < 0;
  const open = group && chart.opened(line);
  if (key === "ArrowRight" && open) return chart.place(line) + 1;
  if (key === "ArrowLeft" && !open) return line.parent ? chart.placeOf(line.parent) : undefined;
  if (!group) return undefined;
  chart.fold(line, key === "ArrowRight");
  return chart.place(line); // it stays here, and the notebook need not know of the key
}
