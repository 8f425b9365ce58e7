/** Which key does what in the chart. */

import type { Line } from "./outline";

const ZOOM = 0.625; // of the time that is seen, by one key
const PAN = 0.2; // of the chart's width
const PAGE = 10; // lines

export interface KeyHost {
  /** Place of the last line. */
  readonly last: number;
  place(line: Line): number;
  placeOf(id: number): number | undefined;
  go(place: number): void;
  press(line: Line): void;
  opened(line: Line): boolean;
  fold(line: Line, open: boolean): void;
  /** False where there is nothing to leave. */
  leave(): boolean;
  zoom(factor: number): void;
  /** By a part of the chart's width. */
  pan(part: number): void;
  fit(): void;
  search(): void;
}

/** Do what a key asks for on a line; false for a key that means nothing here. */
export function pressed(chart: KeyHost, line: Line, event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  return onPicture(chart, event) || (!event.shiftKey && onLine(chart, line, event.key));
}

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

/** As in every tree: right opens and then goes in, left closes and then goes out. */
function sideways(chart: KeyHost, line: Line, key: string): number | undefined {
  if (key !== "ArrowRight" && key !== "ArrowLeft") return undefined;
  const open = line.id < 0 && chart.opened(line);
  if (key === "ArrowRight" && open) return chart.place(line) + 1;
  if (key === "ArrowLeft" && !open) return line.parent ? chart.placeOf(line.parent) : undefined;
  if (line.id >= 0) return undefined;
  chart.fold(line, key === "ArrowRight");
  return undefined;
}
