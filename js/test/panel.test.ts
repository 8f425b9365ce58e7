// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import type { Snapshot } from "../src/model";
import { SILENT } from "../src/widget";
import { fixture } from "./fake";
import { answer, asked, click, fresh, one, press, row, type Shown, settle, shown } from "./host";

beforeEach(() => fresh());

const EVIL = "<img src=x onerror=alert(1)>";

function opened(step: string, snapshot: Snapshot = fixture("finished")): Shown {
  const all = shown(snapshot);
  click(row(all.cb, step));
  press(document.activeElement, "Escape"); // the menu
  return all;
}

function tab(cb: HTMLElement, name: string): void {
  click(one(cb, `.cb-tab[data-tab="${name}"]`));
}

test("attempts are a table once there are several, and each says what followed", () => {
  const base = fixture("finished");
  const at = (attempt: number, where: string, outcome: string) =>
    ({
      attempt,
      where,
      remote: where !== "local",
      queued: attempt,
      start: attempt,
      end: attempt + 0.5,
      outcome,
    }) as const;
  const segments = [at(1, "distributed", "error"), at(2, "distributed", "lost"), at(3, "local", "ok")];
  const rows = base.rows.map((r) =>
    r.step === "check_inventory" ? { ...r, attempt: 3, where: "local", segments } : r,
  );
  const { cb } = opened("check_inventory", { ...base, rows });

  const lines = [...cb.querySelectorAll(".cb-attempts tbody tr")].map((tr) =>
    [...tr.querySelectorAll("td")].map((td) => td.textContent),
  );
  expect(lines).toEqual([
    ["1", "distributed", "failed", "500 ms", "tried again"],
    ["2", "distributed", "worker lost", "500 ms", "went on at local"],
    ["3", "local", "succeeded", "500 ms", ""],
  ]);
});

test("whether a result came from the cache, and why not, is one of the facts", () => {
  const base = fixture("finished");
  const rows = base.rows.map((r) => ({ ...r, cache: "miss: the helper clean() was edited" }));
  const { cb } = opened("calculate_tax", { ...base, rows });

  expect(one(cb, ".cb-panel dl").textContent).toContain("Cachemiss: the helper clean() was edited");
});

test("an executor that would be refused cannot be chosen, and says why", () => {
  const all = opened("check_inventory");
  answer(all, "choices", { refused: { local: 'effects="once": it may have run' } });
  const local = one(all.cb, '.cb-move[data-executor="local"]');
  click(local);

  expect(local.getAttribute("aria-disabled")).toBe("true");
  expect(one(all.cb, ".cb-refused").textContent).toBe('local: effects="once": it may have run');
  expect(all.model.asked("preview")).toEqual([]);
});

test("a menu that is open learns what is refused", () => {
  const all = shown(fixture("finished"));
  click(row(all.cb, "check_inventory"));
  answer(all, "choices", { refused: { local: "not cleared for pii" } });
  const item = one(all.cb, '.cb-menu [data-executor="local"]');
  click(item);

  expect([item.getAttribute("aria-disabled"), item.textContent]).toEqual(["true", "Move to localnot cleared for pii"]);
  expect(all.model.asked("preview")).toEqual([]);
});

test("three ways to run again ask for three plans, and a live run offers one", () => {
  const all = opened("check_inventory");
  for (const scope of ["this", "from", "all"]) click(one(all.cb, `.cb-again-${scope}`));
  const live = opened("check_inventory", fixture("running"));

  expect(all.model.asked("preview").map(({ step, scope, executor }) => [step, scope, executor])).toEqual([
    ["check_inventory", "this", null],
    ["check_inventory", undefined, null],
    ["check_inventory", "all", null],
  ]);
  expect(["this", "from", "all"].map((scope) => one(live.cb, `.cb-again-${scope}`).hidden)).toEqual([
    true,
    false,
    true,
  ]);
});

test("a plan says about how long, why each step runs, and its line of code", () => {
  const all = opened("check_inventory");
  click(one(all.cb, ".cb-again-this"));
  const why = { check_inventory: "chosen", [EVIL]: "edited since" };
  const plan = {
    runs: Object.keys(why),
    reuses: ["a"],
    lost: "",
    code: 'runs[7].rerun("x", only=True)',
    ok: true,
    text: "",
  };
  answer(all, "preview", { ...plan, executor: null, why, seconds: 1.24, untimed: 1 });
  click(one(all.cb, ".cb-apply"));

  expect(one(all.cb, ".cb-plan").textContent).toContain(
    "About 1.24 s of work when it last ran, and 1 step nobody has timed.",
  );
  expect([...all.cb.querySelectorAll(".cb-why li")].map((li) => li.textContent)).toEqual([
    "check_inventory chosen",
    `${EVIL} edited since`,
  ]);
  expect(one(all.cb, ".cb-plan .cb-code").textContent).toBe('runs[7].rerun("x", only=True)');
  expect(asked(all, "apply")).toMatchObject({ step: "check_inventory", executor: null, scope: "this" });
  expect(all.cb.querySelector("img")).toBe(null);
});

test("values are described, and previewed only when asked, as text", () => {
  const all = opened("check_inventory");
  tab(all.cb, "result");
  const value = { type: "dict", size: "2 items", digest: "0a1b2c3d", note: "" };
  const inputs = [{ of: "validate_order", name: "validate_order", ...value }];
  answer(all, "look", { inputs, result: { of: "result", name: "check_inventory", ...value } });
  const before = all.cb.querySelectorAll(".cb-preview").length;
  const more = one(all.cb, '[data-of="result"]');
  more.focus();
  click(more);
  answer(all, "look", { of: "result", text: `x: ${EVIL}` });

  expect(before).toBe(0);
  expect(asked(all, "look")).toMatchObject({ tab: "value", of: "result", step: "check_inventory" });
  expect(one(all.cb, ".cb-preview").textContent).toBe(`x: ${EVIL}`);
  expect(one(all.cb, ".cb-values").textContent).toContain("dict · 2 items · digest 0a1b2c3d");
  expect(document.activeElement?.getAttribute("data-of")).toBe("result");
  expect(one(all.cb, ".cb-tabpage .cb-codeline .cb-code").textContent).toBe('runs[7].outputs["check_inventory"]');
  click(one(all.cb, '[data-of="result"]'));
  expect(all.cb.querySelectorAll(".cb-preview").length).toBe(0);
});

test("what is carried and what happened come as lines, when their tab is opened", () => {
  const all = opened("check_inventory");
  const first = all.model.asked("look").length;
  tab(all.cb, "carried");
  answer(all, "look", {
    items: [{ name: `global '${EVIL}'`, type: "dict", size: "1 item", digest: "ff35733d" }],
    note: "",
  });
  const carried = one(all.cb, ".cb-tabpage").textContent;
  tab(all.cb, "events");
  answer(all, "look", {
    lines: [
      [0.21, "attempt 1 began on worker 2"],
      [0.4, "succeeded"],
    ],
  });

  expect(first).toBe(0);
  expect(carried).toContain(`global '${EVIL}'dict · 1 itemff35733d`);
  expect([...all.cb.querySelectorAll(".cb-events li")].map((li) => li.textContent)).toEqual([
    "210 msattempt 1 began on worker 2",
    "400 mssucceeded",
  ]);
  expect(all.cb.querySelector("img")).toBe(null);
});

test("tabs are moved through by arrows and named for screen readers", () => {
  const all = opened("check_inventory");
  const first = one(all.cb, '.cb-tab[data-tab="output"]');
  first.focus();
  press(first, "ArrowLeft");
  const selected = [...all.cb.querySelectorAll('[role="tab"]')].map((t) => t.getAttribute("aria-selected"));

  expect([document.activeElement?.getAttribute("data-tab"), selected]).toEqual([
    "events",
    ["false", "false", "false", "true"],
  ]);
  const page = one(all.cb, '[role="tabpanel"]');
  expect(page.getAttribute("aria-labelledby")).toBe(document.activeElement?.id);
});

test("what was looked at is asked for again when the step has run again", () => {
  const all = opened("check_inventory");
  tab(all.cb, "events");
  answer(all, "look", { lines: [[0, "began"]] });
  const known = all.model.asked("look").length;
  const base = fixture("finished");
  const rows = base.rows.map((r) => (r.step === "check_inventory" ? { ...r, attempt: 2 } : r));
  all.model.say({ kind: "snapshot", snapshot: { ...base, rows, seq: base.seq + 1 } });
  settle();

  expect(all.model.asked("look").length).toBe(known + 1);
});

test("a choice is kept by a line to paste, or written to a file after a second word", () => {
  const all = opened("check_inventory");
  click(one(all.cb, '.cb-move[data-executor="local"]'));
  answer(all, "preview", { runs: ["a"], reuses: [], lost: "", code: "x", ok: true, text: "", executor: "local" });
  click(one(all.cb, ".cb-keep"));
  click(one(all.cb, ".cb-keep-cell"));
  const lines = [{ where: "Cell In[3]", old: `@step # ${EVIL}`, new: `@step(executor="local") # ${EVIL}` }];
  answer(all, "keep", { lines, text: "" });
  const cell = one(all.cb, ".cb-keepbox").textContent;
  click(one(all.cb, ".cb-keep-file"));
  answer(all, "keep", {
    path: "/srv/p/pyproject.toml",
    code: '[tool.cerebelum.strategy]\nx = "local"',
    text: "",
    done: false,
  });
  const written = all.model.asked("keep").map((k) => k.confirmed);
  click(one(all.cb, ".cb-keep-confirm"));
  answer(all, "keep", { path: "/srv/p/pyproject.toml", code: "x", text: "Written.", done: true });

  expect(cell).toContain(`@step(executor="local") # ${EVIL}`);
  expect(written).toEqual([false, false]);
  expect(asked(all, "keep")).toMatchObject({ where: "configuration", confirmed: true, executor: "local" });
  expect(one(all.cb, ".cb-keep-confirm").hidden).toBe(true);
  expect(all.cb.querySelector("img")).toBe(null);
});

test("code is copied, and selected where the clipboard is closed", async () => {
  const all = opened("check_inventory");
  click(one(all.cb, '.cb-move[data-executor="local"]'));
  answer(all, "preview", { runs: ["a"], reuses: [], lost: "", code: "runs[7]", ok: true, text: "", executor: "local" });
  const write = vi.fn().mockResolvedValueOnce(undefined).mockRejectedValueOnce(new Error("closed"));
  Object.defineProperty(navigator, "clipboard", { configurable: true, value: { writeText: write } });
  const copy = one(all.cb, ".cb-plan .cb-copy");
  copy.click();
  await Promise.resolve().then(() => undefined);
  const first = copy.textContent;
  copy.click();
  await Promise.resolve().then(() => undefined);

  expect(write).toHaveBeenCalledWith("runs[7]");
  expect([first, copy.textContent, String(getSelection())]).toEqual(["Copied", "Press Ctrl+C", "runs[7]"]);
});

test("a failure is told in a line, with the person's own and the whole traceback folded", () => {
  const all = opened("process_payment", fixture("failed"));
  const traceback =
    'Traceback (most recent call last):\n  Cell In[3], line 4\n    charge(card)\n  File "x.py", line 2, in charge\nPaymentError: no';
  answer(all, "details", { output: [], error_type: "PaymentError", error: EVIL, traceback, asked: "" });

  expect(one(all.cb, ".cb-error").textContent).toBe(`PaymentError: ${EVIL}`);
  expect(one(all.cb, ".cb-own").textContent).toBe("Cell In[3], line 4\n    charge(card)");
  expect((one(all.cb, ".cb-fold") as HTMLDetailsElement).open).toBe(false);
  expect(all.cb.querySelector("img")).toBe(null);
});

test("a saved page is looked at: its panel offers nothing to run, only to save", () => {
  const all = shown({ ...fixture("finished"), still: true });
  click(row(all.cb, "check_inventory"));
  click(one(all.cb, ".cb-save"));

  expect([one(all.cb, ".cb-panel-acts").hidden, one(all.cb, ".cb-tabs").hidden]).toEqual([true, true]);
  expect([...all.cb.querySelectorAll(".cb-menu [role=menuitem]")].map((i) => i.getAttribute("data-action"))).toEqual([
    "png",
    "svg",
    "trace",
  ]);
  expect(all.model.sent.filter((m) => m.kind !== "resync")).toEqual([]);
});

test("a run is saved by the browser, under the name that the kernel gives, with its line of code", async () => {
  const all = shown(fixture("finished"));
  const made: string[] = [];
  Object.assign(URL, { createObjectURL: () => "blob:x", revokeObjectURL: () => undefined });
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    made.push(this.download);
  });
  click(one(all.cb, ".cb-save"));
  click(one(all.cb, '.cb-menu [data-action="trace"]'));
  answer(all, "file", { name: "orders-run-7.trace.json", mime: "application/json", text: "{}" });
  await Promise.resolve().then(() => undefined);

  expect(asked(all, "file").what).toBe("trace");
  expect(made).toEqual(["orders-run-7.trace.json"]);
  expect(one(all.cb, ".cb-live").textContent).toContain('runs[7].save_trace("orders-run-7.trace.json")');
});

test("a busy kernel is named where somebody waits for it, not for what is asked along the way", () => {
  const all = opened("calculate_tax");
  vi.advanceTimersByTime(5100);
  const before = one(all.cb, ".cb-live").textContent;
  tab(all.cb, "events");
  vi.advanceTimersByTime(5100);

  expect(all.model.asked("choices").length).toBe(1);
  expect([before, one(all.cb, ".cb-message").textContent]).toEqual(["", SILENT]);
});

test("one reason for several executors is said once", () => {
  const all = opened("check_inventory", {
    ...fixture("finished"),
    executors: ["local", "distributed", "gpu"].map((name) => ({ name, label: name, remote: name !== "local" })),
  });
  answer(all, "choices", { refused: { local: "it has begun", gpu: "it has begun", distributed: "it has begun" } });

  expect(one(all.cb, ".cb-refused").textContent).toBe("local, gpu: it has begun");
});

test("what undoes a step offers nothing: the run calls it", () => {
  const base = fixture("finished");
  const rows = base.rows.map((r) => (r.step === "check_inventory" ? { ...r, kind: "undo" as const } : r));
  const all = shown({ ...base, rows });
  click(row(all.cb, "check_inventory"));
  const items = [...all.cb.querySelectorAll(".cb-menu [role=menuitem]")].map((i) => i.getAttribute("aria-disabled"));

  expect([items, one(all.cb, ".cb-panel-acts").hidden]).toEqual([["true"], true]);
  expect(all.model.asked("choices")).toEqual([]);
});

test("a page saved of a live run stands still, also after it was saved again", async () => {
  const all = shown({ ...fixture("running"), still: true });
  all.model.say({ kind: "ack", request: 1, ok: false, text: "" });
  const before = one(all.cb, ".cb-elapsed").textContent;
  vi.advanceTimersByTime(3000);

  expect(one(all.cb, ".cb-elapsed").textContent).toBe(before);
});
