// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import { beside, others } from "../fixtures/beside.mjs";
import { areAlike, Compared, earlierMarks, inWords, secondsOf, signed } from "../src/compare";
import { frame, wholeOf } from "../src/layout";
import type { Beside, Row, Snapshot } from "../src/model";
import { type FakeModel, fixture, patch } from "./fake";
import { click, fresh, one, row, type Shown, settle, shown } from "./host";

beforeEach(() => fresh());

function hear(model: FakeModel, kind: "others" | "compare", answer: (request: number) => object): void {
  model.say(answer(model.asked(kind).at(-1)?.request as number));
  settle();
}

function listed(snapshot: Snapshot): Shown {
  const made = shown(snapshot);
  hear(made.model, "others", (request) => others(snapshot, request));
  return made;
}

function choose(cb: HTMLElement, run: string): void {
  const select = one(cb, ".cb-select") as HTMLSelectElement;
  select.value = run;
  select.dispatchEvent(new Event("change"));
  settle();
}

function compared(snapshot: Snapshot, more: Partial<Beside> = {}): Shown {
  const made = listed(snapshot);
  choose(made.cb, "r6");
  hear(made.model, "compare", (request) => ({ ...beside(snapshot, request), ...more }));
  return made;
}

function marks(cb: HTMLElement, step: string): string[] {
  const bars = [...row(cb, step).querySelectorAll(".cb-mark")];
  return bars.map((bar) => [...bar.classList].find((name) => name !== "cb-mark") ?? "");
}

const label = (cb: HTMLElement, step: string): string => one(row(cb, step), ".cb-label").textContent ?? "";
const said = (cb: HTMLElement): string => one(cb, ".cb-live").textContent ?? "";

test.each([
  [1, 1.015, "same", "as long as in run 3"],
  [0.0004, 0.0011, "same", "as long as in run 3"],
  [1, 1.03, "−30 ms", "30 ms faster than in run 3"],
  [0.24, 0.2, "+40 ms", "40 ms slower than in run 3"],
])("%s s against %s s is %s, as the kernel has it", (now, before, figure, words) => {
  expect([signed(now, before), inWords(now, before, "run 3"), areAlike(now, before)]).toEqual([
    figure,
    words,
    figure === "same",
  ]);
});

test("a step's time is all of its attempts and what was waited for them, where it succeeded", () => {
  const { rows } = fixture("pools");
  const score = rows[5] as Row;

  expect(secondsOf(score)).toBeCloseTo(16.2 - 14.22 + 18.9 - 16.3);
  expect(secondsOf({ ...score, status: "failed" })).toBeNull();
  expect([rows[0], rows[6], rows[7], rows[8]].map((r) => secondsOf(r as Row))).toEqual([null, null, null, null]);
});

test("the other run's attempts stand at their own time since its start, on an axis that holds both", () => {
  const made = fixture("finished");
  const answer = beside(made);
  const view = { zoom: null, now: made.header.now, running: false, beyond: answer.seconds };
  const f = frame(900, 100, view);
  const found = earlierMarks(f, new Compared(answer).beside(made.rows[1] as Row)?.earlier as Row);

  expect(wholeOf(view)).toBeCloseTo(answer.seconds);
  expect(found.map((mark) => [mark.kind, mark.paint])).toEqual([
    ["earlierqueue", "dist"],
    ["earlier", "dist"],
  ]);
  const [, bar] = found;
  const segment = answer.rows[1]?.segments[0];
  const px = (s: number): number => f.left + (s / answer.seconds) * (f.right - f.left);
  expect(bar?.x).toBeCloseTo(px(segment?.start ?? 0));
  expect((bar?.x ?? 0) + (bar?.width ?? 0)).toBeCloseTo(px(segment?.end ?? 0));
});

test("the control is there where there are earlier runs, and only there", () => {
  const first = fixture("finished");
  first.header = { ...first.header, number: 1 };
  const alone = shown(first);
  const still = shown({ ...fixture("finished"), still: true });
  const waiting = shown(fixture("finished"));
  const { cb } = listed(fixture("finished"));

  expect([alone, still].map(({ model }) => model.asked("others").length)).toEqual([0, 0]);
  expect([alone, still, waiting].map((made) => one(made.cb, ".cb-compare").hidden)).toEqual([true, true, true]);
  expect(one(cb, ".cb-compare").hidden).toBe(false);
  const select = one(cb, ".cb-select") as HTMLSelectElement;
  expect([...select.options].map((o) => o.textContent)).toEqual([
    "Compare…",
    "run 6 · 1.02 s",
    "run 5 · 310 ms, failed",
  ]);
  expect([select.value, select.labels?.[0]?.firstChild?.textContent]).toEqual(["", "compare with "]);
});

test("an earlier run stands behind this one: outlines, figures beside the bars, words for those who hear them", () => {
  const { cb, model } = compared(fixture("finished"));

  expect(model.asked("compare").map((m) => m.with)).toEqual(["r6"]);
  expect(marks(cb, "check_inventory").slice(0, 2)).toEqual(["cb-earlierqueue", "cb-earlier"]);
  expect(label(cb, "check_inventory")).toBe("200 ms · −305 ms · worker 2");
  expect(row(cb, "check_inventory").getAttribute("aria-label")).toMatch(/^check_inventory, 200 ms, −305 ms, worker 2,/);
  expect(row(cb, "check_inventory").getAttribute("aria-label")).toMatch(/, 305 ms faster than in run 6$/);
  expect([label(cb, "calculate_tax"), label(cb, "finalize_order")]).toEqual([
    "2 ms · same · slack 203 ms",
    "3 ms · not in run 6",
  ]);
  expect([one(cb, ".cb-diff").textContent, one(cb, ".cb-unlike").textContent]).toEqual([
    "−325 ms in all",
    "only in run 7: finalize_order",
  ]);
  expect(said(cb)).toBe("Compared with run 6: 325 ms faster than in run 6. only in run 7: finalize_order");
});

test("the panel says what a step and the run gained", () => {
  const told = (cb: HTMLElement): (string | null)[] =>
    [...cb.querySelectorAll<HTMLElement>(".cb-panel dt, .cb-panel dd")]
      .filter((node, i, all) => !node.hidden && all[i - (i % 2)]?.textContent?.startsWith("vs "))
      .map((node) => node.textContent);
  const { cb } = compared(fixture("finished"));
  click(row(cb, "check_inventory"));
  const known = told(cb);
  click(row(cb, "finalize_order"));
  const unknown = told(cb);
  choose(cb, "");

  expect(known).toEqual(["vs run 6", "this step −305 ms, the run −325 ms"]);
  expect(unknown).toEqual(["vs run 6", "the run −325 ms"]);
  expect(told(cb)).toEqual([]);
});

test("none takes it away again", () => {
  const { cb } = compared(fixture("finished"));
  choose(cb, "");

  expect(cb.querySelectorAll(".cb-earlier").length).toBe(0);
  expect(label(cb, "check_inventory")).toBe("200 ms · worker 2");
  expect(one(cb, ".cb-diff").hidden).toBe(true);
});

test("while a run goes on there is no whole difference; at its end it is asked for again", () => {
  const made = fixture("running");
  const { cb, model } = compared(made);
  expect(one(cb, ".cb-diff").hidden).toBe(true);
  const rows = made.rows.filter((r) => r.status === "running");

  const header = { ...made.header, status: "succeeded" };
  model.say(patch({ ...made, header }, made.seq + 1, rows));
  settle();

  expect(model.asked("compare").length).toBe(2);
  hear(model, "compare", (request) => ({ ...beside({ ...made, header }, request) }));
  expect(one(cb, ".cb-diff").hidden).toBe(false);
  expect(model.asked("compare").length).toBe(2);
});

test("what somebody moved is compared with how it was, unless they chose otherwise", () => {
  const after = (snapshot: Snapshot): Snapshot => ({
    ...snapshot,
    header: { ...snapshot.header, run: "r9", number: 9 },
  });
  const next = after(fixture("finished"));
  const list = { ...others(next), runs: [{ run: "r7", name: "run 7", told: "521 ms" }], parent: "r7" };

  const moved = listed(fixture("finished"));
  moved.model.sync(next);
  hear(moved.model, "others", (request) => ({ ...list, request }));
  const quiet = compared(fixture("finished"));
  choose(quiet.cb, "");
  quiet.model.sync(next);
  hear(quiet.model, "others", (request) => ({ ...list, request }));

  expect(moved.model.asked("compare").map((m) => m.with)).toEqual(["r7"]);
  expect(quiet.model.asked("compare").map((m) => m.with)).toEqual(["r6"]);
});

test("a comparison comes back with the run in this tab, and so does the choice of none", () => {
  const asked = (snapshot: Snapshot): unknown[] => {
    vi.advanceTimersByTime(400);
    return listed(snapshot)
      .model.asked("compare")
      .map((m) => m.with);
  };

  compared(fixture("finished"));
  const again = asked(fixture("finished"));
  const other = asked({ ...fixture("finished"), header: { ...fixture("finished").header, run: "r8" } });
  choose(compared(fixture("finished")).cb, "");
  const none = asked(fixture("finished"));

  expect([again, other, none]).toEqual([["r6"], [], []]);
});

test("an answer about another run, and one that nobody waits for any more, change nothing", () => {
  const made = fixture("finished");
  const { cb, model } = listed(made);
  choose(cb, "r6");
  const request = model.asked("compare").at(-1)?.request as number;
  choose(cb, "r5");
  model.say(beside(made, request));
  settle();
  expect(cb.querySelectorAll(".cb-earlier").length).toBe(0);

  hear(model, "compare", (last) => ({ ...beside(made, last), of: "another" }));
  expect(cb.querySelectorAll(".cb-earlier").length).toBe(0);
});

test("a run that is not known any more is said so, and none is chosen", () => {
  const { cb, model } = listed(fixture("finished"));
  choose(cb, "r6");
  hear(model, "compare", (request) => ({ kind: "ack", request, ok: false, text: "it is gone" }));

  expect([one(cb, ".cb-notice").textContent, (one(cb, ".cb-select") as HTMLSelectElement).value]).toEqual([
    "it is gone",
    "",
  ]);
});

test("a kernel that does not answer is named once it was asked by hand, not for the list", () => {
  const silent = shown(fixture("finished"));
  vi.advanceTimersByTime(6000);
  expect(one(silent.cb, ".cb-notice").hidden).toBe(true);

  const { cb } = listed(fixture("finished"));
  choose(cb, "r6");
  vi.advanceTimersByTime(6000);
  expect([one(cb, ".cb-notice").hidden, (one(cb, ".cb-select") as HTMLSelectElement).value]).toEqual([false, ""]);
});

test("an answer that comes late is shown, and nobody is told of a silence that they did not ask into", () => {
  const next = { ...fixture("finished"), header: { ...fixture("finished").header, run: "r9", number: 9 } };
  const list = { ...others(next), runs: [{ run: "r7", name: "run 7", told: "521 ms" }], parent: "r7" };
  const { cb, model } = listed(fixture("finished"));
  model.sync(next);
  hear(model, "others", (request) => ({ ...list, request }));
  vi.advanceTimersByTime(6000);
  const told = one(cb, ".cb-notice").hidden;
  hear(model, "compare", (request) => ({ ...beside(next, request), run: "r7", name: "run 7" }));

  expect([told, one(cb, ".cb-notice").hidden]).toEqual([true, true]);
  expect(cb.querySelectorAll(".cb-earlier").length).toBeGreaterThan(0);
  expect((one(cb, ".cb-select") as HTMLSelectElement).value).toBe("r7");
});

test("names from anywhere stay text", () => {
  const evil = "<img src=x onerror=alert(1)>";
  const { cb } = compared(fixture("finished"), { name: evil, note: evil });

  expect(cb.querySelectorAll("img").length).toBe(0);
  expect(label(cb, "finalize_order")).toContain(evil);
  expect(one(cb, ".cb-unlike").textContent).toBe(evil);
});

test("a closed group has one outline and the difference of the whole of it; a failed step has none", () => {
  const { cb } = compared(fixture("folded"));
  const score = one(cb, '.cb-group[data-group="score"]');

  expect(score.querySelectorAll(".cb-earlier").length).toBe(1);
  expect(one(score, ".cb-label").textContent).toMatch(/ · [+−][\d.]+ s$/);
  expect(label(cb, "report/collect")).toBe("failed · 3.70 s");
  expect(label(cb, "validate?")).toContain("run 6: took 'hold'");
});
