/** How a run was looked at, kept in this tab of the browser only: never in the notebook. */

import { type Filter, NO_FILTER } from "./filter";
import type { Zoom } from "./time";

/** The part of a view that outlives a reload. */
export interface Kept {
  zoom: Zoom;
  folds: ReadonlyMap<string, boolean>;
  filter: Filter;
  gaps: boolean;
  scroll: number;
  /** The run that it was compared with; empty for none by choice, null where nobody chose. */
  beside: string | null;
}

const PREFIX = "cerebelum_nb:view:";
const MOST = 20_000; // characters: names of groups may be many

export function keep(run: string, { zoom, folds, filter, gaps, scroll, beside }: Kept): void {
  const { text, statuses, places, critical } = filter;
  const sets = { text, statuses: [...statuses], places: [...places], critical };
  const value = JSON.stringify({ zoom, folds: [...folds], filter: sets, gaps, scroll, beside });
  try {
    if (value.length <= MOST) globalThis.sessionStorage?.setItem(PREFIX + run, value);
  } catch {
    // Full, or forbidden: the view is forgotten, as a new one would be.
  }
}

/** Null where nothing is known, or it cannot be read. */
export function kept(run: string): Kept | null {
  try {
    const value: unknown = JSON.parse(globalThis.sessionStorage?.getItem(PREFIX + run) ?? "null");
    return isRecord(value) ? read(value) : null;
  } catch {
    return null;
  }
}

function read(value: Record<string, unknown>): Kept {
  const { zoom, folds, scroll } = value;
  const filter = isRecord(value.filter) ? value.filter : {};
  const span = isRecord(zoom) && Number(zoom.to) > Number(zoom.from) && Number(zoom.from) >= 0;
  return {
    zoom: span ? { from: Number(zoom.from), to: Number(zoom.to) } : null,
    folds: new Map((Array.isArray(folds) ? folds : []).map(([name, open]) => [String(name), Boolean(open)])),
    filter: {
      ...NO_FILTER,
      text: typeof filter.text === "string" ? filter.text : "",
      statuses: new Set(strings(filter.statuses)),
      places: new Set(strings(filter.places)),
      critical: filter.critical === true,
    },
    gaps: value.gaps === true,
    scroll: Number(scroll) || 0,
    beside: typeof value.beside === "string" ? value.beside : null,
  };
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
