// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import { many } from "../fixtures/snapshots.mjs";
import create from "../src/index";
import type { Row, Snapshot } from "../src/model";
import { SILENT } from "../src/widget";
import { FakeModel, fixture, patch } from "./fake";
import { click, fresh, one, press, row, settle, shown } from "./host";

beforeEach(() => fresh());

function previewOf(model: FakeModel, more: object = {}): object {
  const { request, step, executor } = model.asked("preview").at(-1) as {
    request: number;
    step: string;
    executor: string;
  };
  const plan = { runs: ["a", "b", "c"], reuses: ["d", "e"], lost: "14 ms are lost.", code: 'run.rerun("a")' };
  return { kind: "preview", request, step, executor, ...plan, ok: true, text: "", ...more };
}

test("a row says what it is, to people, to machines and to screen readers", () => {
  const { cb } = shown(fixture("finished"));
  const node = row(cb, "check_inventory");

  expect({ ...node.dataset, label: node.getAttribute("aria-label"), role: node.getAttribute("role") }).toEqual({
    step: "check_inventory",
    status: "succeeded",
    kind: "step",
    executor: "distributed",
    attempt: "1",
    id: "1",
    label: "check_inventory, 200 ms, worker 2, distributed, succeeded, on the critical path",
    role: "button",
  });
  expect([cb.dataset.run, cb.dataset.runStatus]).toEqual(["r7", "succeeded"]);
});

test("what is seen of a row is how its spoken name begins, in every state", () => {
  for (const name of ["running", "failed", "rerun", "paused", "folded", "pools", "undone", "names"]) {
    const { cb } = shown(fixture(name));
    const seen = [...cb.querySelectorAll(".cb-row")].map((node) =>
      [...node.querySelectorAll("text")].flatMap((text) =>
        (text.textContent ?? "").replace(/^‹ | ›$/g, "").split(" · "),
      ),
    );
    const said = [...cb.querySelectorAll(".cb-row")].map((node) => node.getAttribute("aria-label") ?? "");

    expect(seen.length).toBeGreaterThan(4);
    for (const [i, words] of seen.entries()) expect(said[i]?.startsWith(words.filter(Boolean).join(", "))).toBe(true);
  }
});

test("the clock of a running row is in its spoken name, but not read aloud while it has the focus", () => {
  const { cb, model } = shown(fixture("running"));
  const node = row(cb, "process_payment");
  const said = (): string => node.getAttribute("aria-label") ?? "";
  const { header, rows, seq, ...rest } = fixture("running");
  const of = rows.find((r) => r.step === "process_payment") as Row;
  let number = seq;
  const later = (now: number, change: Partial<Row> = {}): void => {
    model.say(patch({ ...rest, rows, seq, header: { ...header, now } }, ++number, [{ ...of, ...change }]));
    vi.advanceTimersByTime(100);
  };
  const first = said();
  later(40);
  const second = said();
  node.focus();
  later(50);

  expect(second).not.toBe(first);
  expect(said()).toBe(second);
  later(55, { status: "failed" });
  expect(said()).toContain("failed");
});

test("before the first run there is a word instead of a chart", () => {
  const { cb } = shown({});

  expect([one(cb, ".cb-empty").hidden, one(cb, ".cb-body").hidden]).toEqual([false, true]);
});

test("what runs in processes is local work in the header", () => {
  const { header, rows, ...rest } = fixture("finished");
  const moved = (from: string): Row[] => rows.map((r) => (r.step === from ? { ...r, where: "processes" } : r));
  const alone = rows.map((r) => (r.remote ? { ...r, where: "processes" } : r));
  const local = { ...header, local_ms: 510, remote_ms: 0 };

  expect(shown({ ...rest, header, rows: moved("check_inventory") }).cb.textContent).toContain("distributed 98 %");
  expect(shown({ ...rest, header: local, rows: alone }).cb.textContent).toContain("local 100 %");
});

test("messages before the view exists are not lost", () => {
  const model = new FakeModel({});
  const widget = create();
  widget.initialize({ model });
  model.say({ kind: "snapshot", snapshot: fixture("finished") });
  const el = document.createElement("div");

  widget.render({ model: new FakeModel({}), el }); // a host may wrap the same model anew

  expect(el.querySelector(".cb")?.getAttribute("data-run")).toBe("r7");
});

test("the static picture of the same run is hidden, and only that", () => {
  const { cb } = shown(fixture("finished"));
  const evil = shown({ ...fixture("finished"), widget_id: "x{}*" });

  expect(one(cb, "style").textContent).toBe(".cb-static-w1{display:none !important}");
  expect(one(evil.cb, "style").textContent).toBe("");
});

test("a name with markup stays text", () => {
  const snapshot = fixture("finished");
  const rows = snapshot.rows.map((r) => ({ ...r, step: `<img src=x onerror=alert(1)>${r.id}` }));

  const { cb } = shown({ ...snapshot, rows });
  click(cb.querySelector(".cb-row") as Element);

  expect(cb.querySelector("img")).toBe(null);
  expect(one(cb, ".cb-panel b").textContent).toBe("<img src=x onerror=alert(1)>0");
});

test("ten thousand rows are a few in the document, and a change rebuilds none", () => {
  const snapshot = many(10_000) as Snapshot;
  const { model, cb } = shown(snapshot);
  const first = cb.querySelectorAll(".cb-row").length; // those in sight; some beside them come right after
  vi.advanceTimersByTime(100);
  const before = [...cb.querySelectorAll(".cb-row")];

  model.say(patch(snapshot, 13, [{ ...(snapshot.rows[2] as Row), status: "failed" }]));
  settle();

  expect([first, before.length]).toEqual([17, 25]);
  expect([...cb.querySelectorAll(".cb-row")]).toEqual(before);
  expect(row(cb, "transform_part_00002").dataset.status).toBe("failed");
});

test("one row is in the tab order, and the arrows move it", () => {
  const { cb } = shown(fixture("finished"));
  row(cb, "validate_order").focus();

  press(document.activeElement, "ArrowDown");
  press(document.activeElement, "ArrowDown");
  press(document.activeElement, "ArrowUp");

  const order = [...cb.querySelectorAll(".cb-row")].map((r) => r.getAttribute("tabindex"));
  expect([document.activeElement?.getAttribute("data-step"), order]).toEqual([
    "check_inventory",
    ["-1", "0", "-1", "-1", "-1"],
  ]);
});

test("a letter is kept from the notebook's commands, Ctrl and Shift+Enter are not", () => {
  const { cb } = shown(fixture("finished"));
  const kept = (init: KeyboardEventInit): boolean => {
    row(cb, "calculate_tax").dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...init }));
    return row(cb, "calculate_tax").hasAttribute("data-lm-suppress-shortcuts");
  };

  expect([kept({ key: "d" }), kept({ key: "s", ctrlKey: true }), kept({ key: "Enter", shiftKey: true })]).toEqual([
    true,
    false,
    false,
  ]);
});

test("the menu offers every executor, marks the present one, and gives the focus back", () => {
  const { cb } = shown(fixture("finished"));
  row(cb, "check_inventory").focus();

  press(document.activeElement, "Enter");
  const items = [...cb.querySelectorAll(".cb-menu [role=menuitem]")].map((i) =>
    `${i.textContent} ${i.getAttribute("data-executor")} ${i.getAttribute("aria-disabled") ?? ""}`.trim(),
  );
  const first = document.activeElement?.textContent;
  press(document.activeElement, "ArrowUp");
  const last = document.activeElement?.textContent;
  press(document.activeElement, "Escape");

  expect(items).toEqual(["Move to local local", "distributed (now) distributed true", "Re-run from here null"]);
  expect([first, last]).toEqual(["Move to local", "Re-run from here"]);
  expect([one(cb, ".cb-menu").hidden, document.activeElement?.getAttribute("data-step")]).toEqual([
    true,
    "check_inventory",
  ]);
});

test("a finished step is moved after its plan was shown", () => {
  const { model, cb } = shown(fixture("finished"));
  click(row(cb, "check_inventory"));
  click(one(cb, '.cb-menu [data-executor="local"]'));

  model.say(previewOf(model));
  const plan = one(cb, ".cb-plan").textContent;
  const focus = document.activeElement?.className;
  click(one(cb, ".cb-apply"));
  const [apply] = model.asked("apply");
  const after = document.activeElement?.getAttribute("data-step");
  model.say({ kind: "ack", request: apply?.request, ok: true, text: "Run 8 has started." });

  expect(plan).toBe('Runs 3: a, b, c.Reuses 2.14 ms are lost.Why theserun.rerun("a")CopyRun it soNot nowKeep…');
  expect(one(cb, ".cb-why").hidden).toBe(true); // nobody said why
  expect([focus, after]).toEqual(["cb-button cb-apply", "check_inventory"]);
  expect(apply).toEqual({ kind: "apply", step: "check_inventory", executor: "local", request: apply?.request });
  expect([one(cb, ".cb-live").textContent, one(cb, ".cb-message").textContent, one(cb, ".cb-plan").hidden]).toEqual([
    "Run 8 has started.",
    "Run 8 has started.",
    true,
  ]);
});

test("a step that has not started moves at once", () => {
  const { model, cb } = shown(fixture("running"));
  click(row(cb, "finalize_order"));

  click(one(cb, '.cb-menu [data-executor="distributed"]'));

  expect([model.asked("preview"), model.asked("apply")]).toEqual([
    [],
    [{ kind: "apply", step: "finalize_order", executor: "distributed", request: expect.any(Number) }],
  ]);
});

test("the word about a new run is shown, also when the run came first", () => {
  const { model, cb } = shown(fixture("finished"));
  click(row(cb, "check_inventory"));
  click(one(cb, '.cb-menu [data-executor="local"]'));
  model.say(previewOf(model));
  click(one(cb, ".cb-apply"));

  model.sync(fixture("rerun"));
  model.say({ kind: "ack", request: model.asked("apply")[0]?.request, ok: true, text: "Run 8 has started." });

  expect([cb.dataset.run, one(cb, ".cb-plan").hidden, one(cb, ".cb-message").textContent]).toEqual([
    "r8",
    true,
    "Run 8 has started.",
  ]);
  expect(one(cb, ".cb-panel").dataset.step).toBe("check_inventory");
});

test("a refused plan says why and offers nothing to run", () => {
  const { model, cb } = shown(fixture("finished"));
  click(row(cb, "check_inventory"));
  click(one(cb, '.cb-menu [data-action="rerun"]'));

  model.say(previewOf(model, { ok: false, text: "the run is not known any more" }));

  expect(model.asked("preview")[0]?.executor).toBe(null);
  expect([one(cb, ".cb-plan > div").textContent, one(cb, ".cb-apply").hidden]).toEqual([
    "the run is not known any more",
    true,
  ]);
});

test("a kernel that does not answer is named", () => {
  const { cb } = shown(fixture("finished"));
  click(row(cb, "calculate_tax"));
  click(one(cb, '.cb-menu [data-executor="distributed"]'));

  vi.advanceTimersByTime(5100);

  expect([one(cb, ".cb-message").textContent, one(cb, ".cb-live").textContent]).toEqual([SILENT, SILENT]);
});

test("what a step printed and how it failed is asked for, and shown as text", () => {
  const { model, cb } = shown(fixture("failed"));
  click(row(cb, "process_payment"));
  const [ask] = model.asked("details");

  const output = [
    ["stdout", "<b>paying</b>\n"],
    ["stderr", "declined\n"],
  ];
  const error = { error_type: "PaymentError", error: "card declined", traceback: "" };
  model.say({ kind: "details", request: ask?.request, step: "process_payment", output, ...error });

  expect([one(cb, ".cb-output").textContent, one(cb, ".cb-error").textContent]).toEqual([
    "<b>paying</b>\ndeclined\n",
    "PaymentError: card declined",
  ]);
});

test("Cancel is there while running, Re-run while not, or for a selected step", () => {
  const buttons = (cb: HTMLElement): unknown[] => [one(cb, ".cb-cancel").hidden, one(cb, ".cb-rerun").hidden];
  const running = shown(fixture("running"));
  const before = buttons(running.cb);
  click(row(running.cb, "check_inventory"));

  expect([before, buttons(running.cb), buttons(shown(fixture("finished")).cb)]).toEqual([
    [false, true],
    [false, false],
    [true, false],
  ]);
  click(one(running.cb, ".cb-cancel"));
  expect(running.model.asked("cancel").length).toBe(1);
});

test("the end of a run is said aloud", () => {
  const { model, cb } = shown(fixture("running"));

  model.say({ kind: "snapshot", snapshot: { ...fixture("finished"), seq: 40 } });

  expect(one(cb, ".cb-live").textContent).toBe("order_workflow succeeded after 521 ms");
});

test("a view that is gone leaves nothing behind", () => {
  const model = new FakeModel(fixture("running"));
  const el = document.createElement("div");
  const widget = create();
  const forget = widget.initialize({ model });

  widget.render({ model, el })();
  forget();
  model.say({ kind: "snapshot", snapshot: fixture("finished") });

  expect([el.childElementCount, vi.getTimerCount()]).toEqual([0, 0]);
});
