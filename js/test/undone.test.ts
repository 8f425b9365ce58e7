// @vitest-environment jsdom
import { beforeEach, expect, test } from "vitest";
import { barLabel, ending, history, statusName } from "../src/format";
import { picture } from "../src/layout";
import type { Row } from "../src/model";
import { fixture, patch } from "./fake";
import { fresh, one, row, settle, shown } from "./host";

beforeEach(() => fresh());

const WIDE = { width: 1000, left: 100, right: 900, from: 0, to: 8 };

function said(name: string, id: number): string {
  const { rows, header } = fixture(name);
  const { parts, told, extra } = barLabel(rows[id] as Row, header.now);
  return [parts.join(" · ") + told, ...extra].join(" · ");
}

function kinds(name: string, id: number, to = 8): string[] {
  const { rows, header } = fixture(name);
  const weight = { critical: header.critical.includes(id), slack: header.slack[id] ?? null, leader: true };
  const made = picture({ ...WIDE, to }, rows[id] as Row, header.now, (need) => rows[need], weight);
  return made.marks.map((m) => `${m.kind} ${m.paint}${m.past ? " past" : ""}`);
}

test("an undone step keeps its bar, struck through", () => {
  expect(kinds("undone", 0)).toEqual(["queue dist", "bar dist", "strike undo", "critical none"]);
  expect(said("undone", 0)).toBe("undone · 1.30 s");
});

test("what undoes has a look of its own, wherever it runs, and fails like everything", () => {
  expect(kinds("undone", 4)).toEqual(["queue undo", "bar undo"]);
  expect(kinds("leftover", 4)).toEqual(["queue undo", "bar badhatch", "cross bad"]);
});

test("a run that was undone does not look like one that failed", () => {
  const pill = (name: string): (string | null | undefined)[] => {
    const node = one(shown(fixture(name)).cb, ".cb-pill");
    return [node.textContent, node.dataset.status];
  };

  expect([pill("undone"), pill("leftover"), pill("failed")]).toEqual([
    ["undone", "compensated"],
    ["not fully undone", "compensation_failed"],
    ["failed", "failed"],
  ]);
  expect(one(shown(fixture("leftover")).cb, ".cb-note").textContent).toContain("left as it is: charge_card");
  expect(one(shown(fixture("finished")).cb, ".cb-note").hidden).toBe(true);
});

test("rows that come with a patch stand after the others, and can be reached", () => {
  const snapshot = fixture("undoing");
  const rows = snapshot.rows.slice(0, 4);
  const { cb, model } = shown({ ...snapshot, rows });
  const before = cb.querySelectorAll(".cb-row").length;
  const late = fixture("undone").rows;

  model.say(patch(snapshot, snapshot.seq + 1, [late[4] as Row]));
  settle();
  model.say(patch(snapshot, snapshot.seq + 2, [late[5] as Row, late[0] as Row]));
  settle();

  const steps = [...cb.querySelectorAll<HTMLElement>(".cb-row")].map((node) => node.dataset.step);
  expect([before, steps.slice(4), row(cb, "undo reserve_stock").dataset.kind]).toEqual([
    4,
    ["undo charge_card", "undo reserve_stock"],
    "undo",
  ]);
  expect(row(cb, "reserve_stock").dataset.status).toBe("undone");
  expect([...cb.querySelectorAll(".cb-key")].map((key) => key.textContent)).toContain("undo");
});

test("a result from the cache is drawn as one of before, and why there is none is told", () => {
  const { rows } = fixture("pools");

  expect(kinds("pools", 0, 25)).toEqual(["ghost local"]);
  expect(said("pools", 0)).toBe("cached · 20 ms");
  expect(history(rows[1] as Row, 20)).toContain("miss: argument 'rows' changed");
});

test("an attempt at another place has that place's colour, and says where and why", () => {
  const { rows } = fixture("pools");

  expect(kinds("pools", 5, 25)).toEqual([
    "queue dist past",
    "bar badhatch past",
    "cross bad",
    "bar local",
    "critical none",
  ]);
  expect(said("pools", 5)).toBe("attempt 2 on local · 2.60 s");
  expect(history(rows[5] as Row, 20)).toContain("distributed has no worker");
});

test("a pause between two attempts is drawn from when on it rests", () => {
  expect(kinds("pools", 7, 25)).toEqual([
    "queue dist past",
    "bar badhatch past",
    "cross bad",
    "pause dist",
    "tail dist",
  ]);
});

test("slack is a dotted line up to where the step could have ended, and words", () => {
  const { rows, header } = fixture("finished");
  const made = (width: number): [string[], string] => {
    const f = { ...WIDE, width, to: 0.8 };
    const { marks, label } = picture(f, rows[2] as Row, header.now, () => undefined, {
      critical: false,
      slack: 0.203,
      leader: true,
    });
    return [
      marks.map((m) => `${m.kind} ${Math.round(m.x)}+${Math.round(m.width)}`),
      `${Math.round(label.x)} ${label.text}`,
    ];
  };

  expect(made(1000)).toEqual([["bar 107+3", "slack 112+200"], "318 2 ms · slack 203 ms"]);
  expect(made(420)[1]).toBe("117 2 ms · slack 203 ms"); // no room at its end
});

test("a step outside of what is looked at says on which side it is", () => {
  const { rows, header } = fixture("finished");
  const label = (id: number): string => {
    const f = { ...WIDE, from: 0.3, to: 0.4 };
    const { label: made } = picture(f, rows[id] as Row, header.now, (need) => rows[need]);
    return `${made.anchor} ${made.text}`;
  };

  expect([label(0), label(4)]).toEqual(["start ‹ 5 ms", "end 3 ms ›"]);
});

test("little slack is no news, and the critical path has none", () => {
  expect(kinds("pools", 4, 25)).toEqual(["queue pool-4-3", "send pool-4-3", "bar pool-4-3", "fetch pool-4-3"]);
  expect(said("pools", 2)).not.toContain("slack");
});

test("a step says its last line while it runs, what it says of itself first", () => {
  expect(said("running", 3)).toBe("running · 214 ms · asking the bank · worker 2");
  expect(said("pools", 6)).toBe("31 % · 1.70 s · epoch 2/5 loss 0.3121 · gpu-worker-pool · worker 1");
});

test("the end is told only where it is known and still to come", () => {
  const { header } = fixture("pools");

  expect([ending(header, 21), ending(header, 25), ending({ ...header, finish: null }, 21)]).toEqual([
    "ends about 24.8 s",
    "",
    "",
  ]);
  expect(ending({ ...header, finish: 90 }, 21)).toMatch(/^ends about \d\d:\d\d:\d\d$/);
  expect(statusName("approval")).toBe("waits for approval");
});
