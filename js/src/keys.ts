/** What keys do in the chart: from line to line as in every tree, and through time. */

import type { Line } from "./outline";

const PAN = 0.2; // of what is in sight, with one key
const ZOOM = 0.625;
const PAGE = 10; // lines

export interface KeyHost {
  place(line: Line): number;
  placeOf(id: number): number | undefined;
  readonly last: number;
  go(place: number): void;
  press(line: Line): void;
  opened(line: Line): boolean;
  fold(line: Line, open: boolean): void;
  /** False where there is nothing to leave. */
  leave(): boolean;
  zoom(factor: number): void;
  pan(part: number): void;
  fit(): void;
  search(): void;
}

/** Whether the key meant something here: then it is none of the notebook's. */
export function pressed(host: KeyHost, line: Line, event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  return moves(host, event) || (!event.shiftKey && walks(host, line, event.key));
}

/** Keys that move the picture; some keyboards need Shift for them. */
function moves(host: KeyHost, { key, shiftKey }: KeyboardEvent): boolean {
  if (key === "+" || key === "=") host.zoom(ZOOM);
  else if (key === "-" || key === "_") host.zoom(1 / ZOOM);
  else if (key === "0") host.fit();
  else if (key === "/") host.search();
  else if (shiftKey && key === "ArrowLeft") host.pan(-PAN);
  else if (shiftKey && key === "ArrowRight") host.pan(PAN);
  else return false;
  return true;
}

/** Keys that go from line to line, or press one. */
function walks(host: KeyHost, line: Line, key: string): boolean {
  if (key === "Enter" || key === " ") {
    host.press(line);
    return true;
  }
  if (key === "Escape") return host.leave();
  const place = host.place(line);
  const targets: Record<string, number> = {
    ArrowUp: place - 1,
    ArrowDown: place + 1,
    PageUp: place - PAGE,
    PageDown: place + PAGE,
    Home: 0,
    End: host.last,
  };
  const target = targets[key] ?? sideways(host, line, key);
  if (target === undefined) return false;
  host.go(Math.min(host.last, Math.max(0, target)));
  return true;
}

/** As in every tree: right opens and then goes in, left closes and then goes out. */
function sideways(host: KeyHost, line: Line, key: string): number | undefined {
  if (key !== "ArrowRight" && key !== "ArrowLeft") return undefined;
  const open = line.id < 0 && host.opened(line);
  if (key === "ArrowRight" && open) return host.place(line) + 1;
  if (key === "ArrowLeft" && !open) return line.parent ? host.placeOf(line.parent) : undefined;
  if (line.id >= 0) return undefined;
  host.fold(line, key === "ArrowRight");
  return host.place(line);
}
