/** Which rows a person wants to see. Pure. */

import type { Row } from "./model";

export interface Filter {
  text: string; // part of a step's name
  statuses: ReadonlySet<string>;
  places: ReadonlySet<string>;
  critical: boolean; // only what holds the run up
}

export const NO_FILTER: Filter = { text: "", statuses: new Set(), places: new Set(), critical: false };

export function isFiltered(filter: Filter): boolean {
  return filter.text.trim() !== "" || filter.statuses.size > 0 || filter.places.size > 0 || filter.critical;
}

/** The status as it is counted: what may begin any moment waits, for all that people care. */
export function countedAs(status: string): string {
  return status === "ready" ? "waiting" : status;
}

/** Where a row ran or will: a place that was left counts too. */
export function placesOf(row: Row): string[] {
  if (row.kind === "decision") return [];
  return [row, ...row.segments].map((place) => (place.remote ? place.where : "local"));
}

/** Null where every row is wanted. */
export function wanted(filter: Filter, critical: ReadonlySet<number>): ((row: Row) => boolean) | null {
  if (!isFiltered(filter)) return null;
  const text = filter.text.trim().toLocaleLowerCase();
  const { statuses, places } = filter;
  return (row) =>
    (!text || row.step.toLocaleLowerCase().includes(text)) &&
    (!statuses.size || (row.kind !== "decision" && statuses.has(countedAs(row.status)))) &&
    (!places.size || placesOf(row).some((place) => places.has(place))) &&
    (!filter.critical || critical.has(row.id));
}

/** The same set with one thing more, or one less. */
export function toggled(set: ReadonlySet<string>, what: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(what)) next.add(what);
  return next;
}

/** Steps by status, from rows: where a snapshot does not say it. */
export function counted(rows: Iterable<Row>): [string, number][] {
  const found = new Map<string, number>();
  for (const row of rows) if (row.kind === "step") found.set(row.status, (found.get(row.status) ?? 0) + 1);
  return [...found];
}
