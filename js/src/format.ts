/** Numbers and states as people read them. Pure. */

import type { Header, Row, Segment } from "./model";

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/\.0+$/, "");
}

/** A duration in two or three figures: "0.4 ms", "200 ms", "1.24 s", "2 min 5 s", "1 h 4 min". */
export function duration(ms: number): string {
  if (ms < 9.95) return `${trimmed(ms, 1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Time of day on the reader's clock. */
export function timeOfDay(at: number): string {
  const d = new Date(at * 1000);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/** "local 1.6 %, distributed 98.4 %": who did the work so far; empty before any was done. */
export function split(header: Header): string {
  const total = header.local_ms + header.remote_ms;
  if (total <= 0) return "";
  const share = (ms: number): string => `${trimmed((100 * ms) / total, 1)} %`;
  return `local ${share(header.local_ms)}, distributed ${share(header.remote_ms)}`;
}

export function workerName(worker: string): string {
  return /^\d+$/.test(worker) ? `worker ${worker}` : worker;
}

/** The colour a place is drawn in; remote ones are hatched too. */
export function paint(segment: { where: string; remote: boolean }): "local" | "dist" | "other" {
  if (!segment.remote) return "local";
  return segment.where === "distributed" ? "dist" : "other";
}

/** Milliseconds of an attempt so far. */
export function ran(segment: Segment, now: number): number {
  const from = segment.start ?? segment.queued;
  return Math.max(0, (segment.end ?? now) - from) * 1000;
}

/** How an attempt that did not succeed is named. */
export function outcomeName(outcome: string): string {
  const names: Record<string, string> = { error: "failed", timeout: "timed out", lost: "worker lost" };
  return names[outcome] ?? outcome;
}

/** The text beside a bar: what the colour says, and more. `extra` may go where there is little room. */
export function barLabel(row: Row, now: number): { parts: string[]; extra: number } {
  const last = row.segments.at(-1);
  if (row.status === "waiting") return { parts: last ? ["waits to run again"] : [], extra: 0 };
  if (row.status === "ready" || row.status === "skipped") return { parts: [row.status], extra: 0 };
  const parts: string[] = [];
  if (row.attempt > 1) parts.push(`attempt ${row.attempt}`);
  if (row.status === "submitted") parts.push("queued");
  else if (row.status === "failed")
    parts.push(last && last.outcome !== "running" ? outcomeName(last.outcome) : "failed");
  else if (row.status !== "succeeded") parts.push(row.status);
  const took = row.ms ?? (last ? ran(last, now) : null);
  if (took !== null) parts.push(duration(took));
  const needed = parts.length;
  if (paint(row) === "other") parts.push(row.where);
  if (row.worker && (row.status === "running" || row.status === "succeeded")) parts.push(workerName(row.worker));
  return { parts, extra: parts.length - needed };
}

/** What a screen reader says of a row. */
export function spoken(row: Row): string {
  const parts = [row.step, row.where, row.status];
  if (row.ms !== null) parts.push(duration(row.ms));
  if (row.attempt > 1) parts.push(`attempt ${row.attempt}`);
  return parts.join(", ");
}

/** The attempts of a row, one line each. */
export function history(row: Row, now: number): string {
  const lines = row.segments.map((s) => {
    const outcome = s.outcome === "ok" ? "succeeded" : outcomeName(s.outcome);
    return `attempt ${s.attempt}: ${s.where}, ${outcome}, ${duration(ran(s, now))}`;
  });
  return [row.step, ...lines, row.note].filter(Boolean).join("\n");
}

/** "queued 12 ms, ran 200 ms" of the last attempt. */
export function times(row: Row, now: number): string {
  const last = row.segments.at(-1);
  if (!last) return row.ms === null ? "" : duration(row.ms);
  const parts: string[] = [];
  const queued = Math.max(0, (last.start ?? last.end ?? now) - last.queued) * 1000;
  if (queued >= 0.05) parts.push(`queued ${duration(queued)}`);
  if (last.start !== null) parts.push(`ran ${duration(row.ms ?? ran(last, now))}`);
  return parts.join(", ");
}

/** A list of names that stays readable: the first few, then how many more. */
export function names(list: readonly string[], most = 8): string {
  if (list.length <= most) return list.join(", ");
  return `${list.slice(0, most).join(", ")} and ${list.length - most} more`;
}
