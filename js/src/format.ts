/** Numbers and states as people read them. Pure. */

import type { Header, Row, Segment } from "./model";
import { isPool, paint } from "./palette";

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/\.0+$/, "");
}

/** A duration in two or three figures: "<0.1 ms", "0.4 ms", "200 ms", "1.24 s", "2 min 5 s", "1 h 4 min". */
export function duration(ms: number): string {
  if (ms > 0 && ms < 0.05) return "<0.1 ms"; // no time at all would look like a mistake
  if (ms < 9.95) return `${trimmed(ms, 1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "10,000"; Intl would take 20 ms to begin with. */
export function thousands(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Time of day on the reader's clock. */
export function timeOfDay(at: number): string {
  const d = new Date(at * 1000);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/** What a run cost so far, in the money of its prices: "12.30", "0.012"; "<0.0001" for next to nothing. */
export function cost(amount: number): string {
  if (amount < 0.0001) return "<0.0001";
  return amount >= 0.995 ? amount.toFixed(2) : String(Number(amount.toPrecision(2)));
}

/** "local 1.6 %, distributed 98.4 %, cost 0.012": who did the work so far; empty before any was done. */
export function split(header: Header, remote = "distributed"): string {
  const total = header.local_ms + header.remote_ms;
  if (total <= 0) return "";
  if (!remote && !header.remote_ms) return "local 100 %";
  const share = (ms: number): string => `${trimmed((100 * ms) / total, 1)} %`;
  const paid = header.cost ? `, cost ${cost(header.cost)}` : "";
  return `local ${share(header.local_ms)}, ${remote || "remote"} ${share(header.remote_ms)}${paid}`;
}

export function workerName(worker: string): string {
  return /^\d+$/.test(worker) ? `worker ${worker}` : worker;
}

/** Milliseconds that an attempt's code ran so far. */
export function ran(segment: Segment, now: number): number {
  const from = segment.start ?? segment.queued;
  return Math.max(0, (segment.end ?? now) - (segment.fetch ?? 0) - from) * 1000;
}

/** How an attempt that did not succeed is named. */
export function outcomeName(outcome: string): string {
  const names: Record<string, string> = { error: "failed", timeout: "timed out", lost: "worker lost" };
  return names[outcome] ?? outcome;
}

/** How a status is called where there is room for words. */
export function statusName(status: string): string {
  return STATUS_NAMES[status] ?? status;
}

const STATUS_NAMES: Readonly<Record<string, string>> = {
  approval: "waits for approval",
  submitted: "queued",
  compensated: "undone",
  compensation_failed: "not fully undone",
};

/** When the run ends, as far as that is known: seconds of the run while it is short, else the time of day. */
export function ending(header: Header, now: number): string {
  const { finish } = header;
  if (finish === null || finish <= now || header.status !== "running") return "";
  return finish < 60 ? `ends about ${duration(finish * 1000)}` : `ends about ${timeOfDay(header.started_at + finish)}`;
}

/** A time to come, in whole seconds: a countdown that shows fractions is a nervous one. */
export function left(seconds: number): string {
  return duration(Math.max(1, Math.ceil(seconds)) * 1000)
    .replace(/\.\d+ s$/, " s")
    .replace(/ 0 s$/, "");
}

/**
 * What stands beside a bar: the parts that must be said, then what the step itself says (it may be cut), then `extra`
 * ones for where there is room.
 */
export interface Words {
  parts: string[];
  told: string;
  extra: string[];
}

/** The text beside a bar: what the colour says, and more. `percent`: whether progress must be said here. */
export function barLabel(row: Row, now: number, percent = true): Words {
  const last = row.segments.at(-1);
  const words = (...parts: string[]): Words => ({ parts, told: "", extra: [] });
  if (row.status === "waiting") return last ? words("waits to run again") : words();
  if (row.status === "ready" || row.status === "skipped") return words(row.status);
  if (row.kind === "decision" && row.status === "succeeded") return words(row.note || "decided");
  const found = words();
  const { parts, extra } = found;
  if (row.attempt > 1) parts.push(attemptOf(row));
  const rest = row.until === null ? null : row.until - now;
  if (row.status === "sleeping") {
    parts.push(rest === null ? "sleeps" : rest > 0 ? `sleeps ${left(rest)} more` : "wakes up");
    return { ...found, told: row.doing && ` · ${row.doing}` };
  }
  if (row.status === "approval") {
    if (rest !== null) extra.push(rest > 0 ? `${left(rest)} left` : "time is up");
    return { parts: [...parts, statusName(row.status)], told: row.doing && `: ${row.doing}`, extra };
  }
  if (row.status === "running" && row.progress !== null) {
    if (percent) parts.push(percentOf(row.progress));
  } else if (row.status === "failed") {
    parts.push(last && last.outcome !== "running" ? outcomeName(last.outcome) : "failed");
  } else if (row.status !== "succeeded") parts.push(statusName(row.status));
  const took = row.ms ?? (last ? ran(last, now) : null);
  if (took !== null) parts.push(duration(took));
  if (isPool(paint(row)) && !parts.some((part) => part.endsWith(` on ${row.where}`))) extra.push(row.where);
  if (row.worker && (row.status === "running" || row.status === "succeeded")) extra.push(workerName(row.worker));
  const told = row.doing ? ` · ${row.doing}` : row.said ? ` · ${row.said}` : "";
  return { ...found, told: row.status === "running" ? told : "" };
}

/** "attempt 2", and where that is another place than before. */
function attemptOf(row: Row): string {
  const before = row.segments.at(-2);
  const moved = before !== undefined && before.where !== row.where;
  return `attempt ${row.attempt}${moved ? ` on ${row.where}` : ""}`;
}

export function percentOf(progress: number): string {
  return `${Math.floor(progress * 100)} %`;
}

/** What can be read of a line: its name, what stands beside its bar, and what within. */
export type Seen = readonly [name: string, label: string, inner: string];

/** What is seen, as it is said: without signs. */
function phrasesOf([name, label, inner]: Seen): string[] {
  return [name, ...label.replace(/^‹ | ›$/g, "").split(" · "), inner].filter(Boolean);
}

/** Whoever speaks to the page says what they see: it comes first in a spoken name, in its own order. */
export function seenWords(seen: Seen): string {
  return phrasesOf(seen).join(", ");
}

/** What a screen reader says of a row: what is seen, then what only colour and place tell. */
export function spoken(row: Row, seen: Seen, critical = false): string {
  const label = seen[1];
  const phrases = phrasesOf(seen);
  const parts = [...phrases];
  const add = (words: string): void => {
    if (!phrases.some((phrase) => phrase === words || phrase.startsWith(`${words}:`))) parts.push(words);
  };
  add(row.step);
  add(row.kind === "decision" ? "decision" : row.where);
  add(row.kind === "decision" && row.note ? row.note : statusName(row.status));
  if (row.status === "running" && row.progress !== null) add(percentOf(row.progress));
  const tells = row.doing !== "" && ["running", "approval", "sleeping"].includes(row.status);
  if (tells && !label.includes(row.doing)) parts.push(row.doing);
  if (row.ms !== null && row.kind === "step") add(duration(row.ms));
  if (row.attempt > 1 && row.kind === "step" && !label.startsWith(`attempt ${row.attempt} `))
    parts.push(attemptOf(row));
  if (critical) parts.push("on the critical path");
  return parts.join(", ");
}

/** The attempts of a row, one line each. */
export function history(row: Row, now: number): string {
  const lines = row.segments.map((s) => {
    const outcome = s.outcome === "ok" ? "succeeded" : outcomeName(s.outcome);
    const ways = s.send || s.fetch ? ` (${partsOf(s, now)})` : "";
    return `attempt ${s.attempt}: ${s.where}, ${outcome}, ${duration(ran(s, now))}${ways}`;
  });
  const doing = ["running", "approval", "sleeping"].includes(row.status) ? row.doing : "";
  // Why it is where it is matters once it was elsewhere.
  const why = new Set(row.segments.map((s) => s.where)).size > 1 ? row.reason : "";
  const said = row.status === "running" ? row.said : "";
  const told = [row.step, ...(row.kind === "decision" ? [] : lines), why, row.note, row.cache, doing, said];
  return told.filter(Boolean).join("\n");
}

/** "queue 0.4, send 0.3, run 200.1, fetch 0.2 ms" of the last attempt. */
export function times(row: Row, now: number): string {
  const last = row.segments.at(-1);
  if (last) return partsOf(last, now, row.ms);
  return row.ms === null ? "" : duration(row.ms);
}

/** Where an attempt's time went; in milliseconds with their parts where all are short. */
export function partsOf(segment: Segment, now: number, ms: number | null = null): string {
  const { start, end, queued, send = 0, fetch = 0 } = segment;
  const parts: [string, number][] = [
    ["queue", ((start ?? end ?? now) - send - queued) * 1000],
    ["send", send * 1000],
    ["run", start === null ? 0 : (ms ?? ran(segment, now))],
    ["fetch", fetch * 1000],
  ];
  const told = parts.filter(([name, took]) => took >= 0.05 || (name === "run" && start !== null));
  if (told.length > 1 && told.every(([, took]) => took < 999.5))
    return `${told.map(([name, took]) => `${name} ${trimmed(took, 1)}`).join(", ")} ms`;
  return told.map(([name, took]) => `${name} ${duration(took)}`).join(", ");
}

/** A list of names that stays readable: the first few, then how many more. */
export function names(list: readonly string[], most = 8): string {
  if (list.length <= most) return list.join(", ");
  return `${list.slice(0, most).join(", ")} and ${list.length - most} more`;
}
