/** A run beside another one: what is drawn behind its rows, and the differences as words. Pure: no DOM, no clock. */

import { duration, outcomeName, ran, statusName } from "./format";
import { clipped, type Mark } from "./layout";
import type { Beside, EarlierRow, Row } from "./model";
import type { Summary } from "./outline";
import { type Paint, paint } from "./palette";
import type { Frame } from "./time";

// As in the kernel, for the lines that Python prints: less is what two runs of the same thing differ by.
const ALIKE_S = 0.001;
const ALIKE = 0.02; // of the longer time
const MINUS = "−";
/** What failed early was not faster, and what was taken over took no time. */
const DONE: readonly string[] = ["succeeded", "undone"];

type Ran = Pick<EarlierRow, "segments" | "kind">;

/** A line beside the same one of another run: what is drawn, what stands after its bar, what is said. */
export interface BesideLine {
  earlier: Ran;
  difference: string;
  spoken: string;
}

/** From when a step was handed over to its end, all attempts together; null where it did not succeed. */
export function secondsOf(row: Row): number | null {
  const { segments, status } = row;
  if (!segments.length || !DONE.includes(status)) return null;
  let sum = 0;
  for (const { queued, end } of segments) {
    if (end === null) return null;
    sum += end - queued;
  }
  return sum;
}

export function areAlike(now: number, before: number): boolean {
  return Math.abs(now - before) < Math.max(ALIKE_S, ALIKE * Math.max(now, before));
}

/** "−120 ms", "+40 ms", "same". */
export function signed(now: number, before: number): string {
  if (areAlike(now, before)) return "same";
  return `${now < before ? MINUS : "+"}${duration(Math.abs(now - before) * 1000)}`;
}

/** "120 ms faster than run 3": for those who hear it. */
export function inWords(now: number, before: number, name: string): string {
  if (areAlike(now, before)) return `as long as in ${name}`;
  return `${duration(Math.abs(now - before) * 1000)} ${now < before ? "faster" : "slower"} than in ${name}`;
}

/** What the kernel told of another run, as it is looked up. */
export class Compared {
  private readonly rows: ReadonlyMap<string, EarlierRow>;
  private readonly spans = new Map<string, Ran & { from: number; to: number | null }>();

  constructor(readonly answer: Beside) {
    this.rows = new Map(answer.rows.map((row) => [row.step, row]));
  }

  /** Where the other run ended, in seconds of its own. */
  get end(): number {
    return this.answer.seconds;
  }

  /** What a step and the whole gained or lost: "this step −2.32 s, the run −2.34 s"; empty where neither is known. */
  gained(row: Row): string {
    const { difference, seconds } = this.answer;
    const known = row.kind === "decision" ? "" : (this.beside(row)?.difference ?? "");
    const step = known.startsWith("not in") ? "" : known;
    const run = difference === null ? "" : signed(seconds + difference, seconds);
    return [step && `this step ${step}`, run && `the run ${run}`].filter(Boolean).join(", ");
  }

  beside(row: Row): BesideLine | null {
    const { name } = this.answer;
    const earlier = this.rows.get(row.step);
    if (!earlier) return { earlier: NOTHING, difference: `not in ${name}`, spoken: "" };
    if (row.kind === "decision") {
      const other = row.note !== "" && earlier.note !== "" && row.note !== earlier.note;
      return { earlier: NOTHING, difference: other ? `${name}: ${earlier.note}` : "", spoken: "" };
    }
    const now = secondsOf(row);
    if (now === null || earlier.seconds === null) return { earlier, difference: "", spoken: this.unlike(row, earlier) };
    return {
      earlier,
      difference: signed(now, earlier.seconds),
      spoken: inWords(now, earlier.seconds, name),
    };
  }

  /** A closed nested workflow: from its first start to its last end in both. */
  group(group: string, { from, to }: Summary, rows: readonly Row[]): BesideLine | null {
    const known = this.spans.get(group) ?? this.span(group);
    this.spans.set(group, known);
    if (!known.segments.length) return null;
    const done = rows.every(({ status }) => status === "skipped" || DONE.includes(status));
    if (!done || from === null || to === null || known.to === null)
      return { earlier: known, difference: "", spoken: "" };
    const [now, before] = [to - from, known.to - known.from];
    return { earlier: known, difference: signed(now, before), spoken: inWords(now, before, this.answer.name) };
  }

  /** The other run's attempts of a step, in one line. */
  told(row: Row): string {
    const { name } = this.answer;
    const found = this.rows.get(row.step);
    if (!found) return `not in ${name}`;
    if (found.kind === "decision") return found.note && `${name}: ${found.note}`;
    const tried = found.segments.map((segment) => {
      const outcome = segment.outcome === "ok" ? "" : `${outcomeName(segment.outcome)}, `;
      return `${segment.where}, ${outcome}${duration(ran(segment, this.end))}`;
    });
    const now = secondsOf(row);
    const difference = now === null || found.seconds === null ? "" : ` (now ${signed(now, found.seconds)})`;
    return `${name}: ${tried.join("; ") || statusName(found.status)}${difference}`;
  }

  private unlike(row: Row, earlier: EarlierRow): string {
    const { name } = this.answer;
    if (earlier.seconds !== null && row.status === "waiting")
      return `took ${duration(earlier.seconds * 1000)} in ${name}`;
    return earlier.status === row.status ? "" : `${statusName(earlier.status)} in ${name}`;
  }

  private span(group: string): Ran & { from: number; to: number | null } {
    const inside = this.answer.rows.filter((row) => row.group === group || row.group.startsWith(`${group}/`));
    const all = inside.flatMap((row) => row.segments);
    const from = Math.min(...all.map((segment) => segment.queued));
    const to = Math.max(...all.map((segment) => segment.end ?? this.end));
    const done = inside.every(({ status }) => status === "skipped" || DONE.includes(status));
    const whole = { attempt: 1, where: "", remote: false, queued: from, start: from, end: to, outcome: "span" };
    return { kind: "step", segments: all.length ? [whole] : [], from, to: done ? to : null };
  }
}

const NOTHING: Ran = { kind: "step", segments: [] };

/** Slim outlines above the bars, each at its own time since its run began. */
export function earlierMarks(f: Frame, row: Ran): Mark[] {
  return row.segments.flatMap((segment) => {
    const marks: Mark[] = [];
    const look = { paint: paintOf(row, segment), past: false };
    const begun = segment.start ?? segment.end ?? segment.queued;
    const queue = begun > segment.queued ? clipped(f, segment.queued, begun, 0) : null;
    if (queue && queue.width >= 2) marks.push({ kind: "earlierqueue", ...queue, ...look });
    if (segment.start === null) return marks;
    const bar = clipped(f, segment.start, segment.end ?? segment.start, 2);
    if (bar) marks.push({ kind: "earlier", ...bar, ...look });
    return marks;
  });
}

function paintOf(row: Ran, segment: Ran["segments"][number]): Paint {
  if (segment.outcome === "span") return "none";
  if (row.kind === "undo") return "undo";
  if (segment.outcome === "cancelled") return "grey";
  return segment.outcome === "ok" || segment.outcome === "running" ? paint(segment) : "bad";
}
