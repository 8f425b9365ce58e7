/** The lower part of a step's panel: what it printed, gave and was given, carried, and what happened to it. */

import { CodeLine } from "./copy";
import { button, focused, html, longText, show, text } from "./dom";
import { duration } from "./format";
import type { Described, Details, Look, Row } from "./model";
import { type Bundle, drawn, shownIn } from "./shown";

export const TABS = ["output", "result", "carried", "events"] as const;
export type Tab = (typeof TABS)[number];

const LABELS: Readonly<Record<Tab, string>> = {
  output: "Output",
  result: "Result",
  carried: "Carried",
  events: "Events",
};
let count = 0;

export interface TabActs {
  open(tab: Tab): void;
  preview(of: string): void;
}

export interface TabView {
  tab: Tab;
  row: Row;
  details: Details | null;
  looks: ReadonlyMap<string, Look>;
  shown: ReadonlyMap<string, Bundle>;
  run: number;
}

export class Tabs {
  readonly root = html("div", "cb-tabs");
  private readonly list = html("div", "cb-tablist");
  private readonly page = html("div", "cb-tabpage");
  private readonly buttons: ReadonlyMap<Tab, HTMLButtonElement>;
  private readonly output = html("pre", "cb-output");
  private readonly empty = html("div", "cb-mut cb-nothing");
  private readonly values = html("div", "cb-values");
  private readonly carried = html("div");
  private readonly events = html("ol", "cb-events");
  private readonly line = new CodeLine();
  private shownDetails: Details | null | undefined;
  private shownBundles = 0;
  private pieces: readonly string[] = []; // what each node of the output is made from
  private shownLook: Look | undefined;
  private shownPreviews = "";

  constructor(private readonly acts: TabActs) {
    const id = `cb-tabs-${++count}`;
    this.page.id = id;
    this.page.setAttribute("role", "tabpanel");
    this.page.tabIndex = 0;
    this.list.setAttribute("role", "tablist");
    this.list.setAttribute("aria-label", "About this step");
    this.buttons = new Map(
      TABS.map((tab) => {
        const node = button("cb-tab", LABELS[tab], () => acts.open(tab));
        node.setAttribute("role", "tab");
        node.setAttribute("aria-controls", id);
        node.id = `${id}-${tab}`;
        node.dataset.tab = tab;
        return [tab, node];
      }),
    );
    this.list.append(...this.buttons.values());
    this.list.addEventListener("keydown", (e) => this.onKey(e));
    this.page.append(this.empty, this.output, this.values, this.carried, this.events, this.line.root);
    this.root.append(this.list, this.page);
  }

  draw(view: TabView): void {
    for (const [tab, node] of this.buttons) {
      const on = tab === view.tab;
      node.setAttribute("aria-selected", String(on));
      node.tabIndex = on ? 0 : -1;
    }
    this.page.setAttribute("aria-labelledby", `${this.page.id}-${view.tab}`);
    const look = view.looks.get(view.tab);
    show(this.output, view.tab === "output");
    show(this.values, view.tab === "result");
    show(this.carried, view.tab === "carried");
    show(this.events, view.tab === "events");
    const step = JSON.stringify(view.row.step);
    this.line.draw(view.tab === "result" && look?.result ? `runs[${view.run}].outputs[${step}]` : "");
    text(this.empty, this.nothing(view, look));
    show(this.empty, this.empty.textContent !== "");
    if (view.tab === "output") this.drawOutput(view.details, view.shown);
    else if (view.tab === "result") this.drawValues(look, view.looks);
    else if (look !== this.shownLook) {
      this.shownLook = look;
      if (view.tab === "carried") this.drawCarried(look);
      else this.drawEvents(look);
    }
  }

  private nothing({ tab, row, details, looks }: TabView, look: Look | undefined): string {
    const begun = row.segments.length > 0;
    if (tab === "output") {
      if (details?.output.length) return "";
      return begun ? (row.prints ? "…" : "It has printed nothing.") : "It has not run yet.";
    }
    if (!look) return "…";
    if (tab === "result" && !look.result && !look.inputs?.length) {
      return looks.has("result") ? "No inputs, and no result yet." : "";
    }
    if (tab === "carried") return look.note ?? "";
    return tab === "events" && !look.lines?.length ? "Nothing has happened to it yet." : "";
  }

  /** What is drawn already stays: a frame that is put in again begins anew. */
  private drawOutput(details: Details | null, shown: ReadonlyMap<string, Bundle>): void {
    if (details === this.shownDetails && shown.size === this.shownBundles) return;
    [this.shownDetails, this.shownBundles] = [details, shown.size];
    const output = details?.output ?? [];
    const step = details?.step ?? "";
    const keys = output.map(([stream, content]) => `${step} ${shown.has(shownIn(stream))} ${stream} ${content}`);
    let same = 0;
    while (same < keys.length && keys[same] === this.pieces[same]) same++;
    this.pieces = keys;
    while (this.output.childNodes.length > same) this.output.lastChild?.remove();
    for (const [stream, content] of output.slice(same)) {
      const bundle = shown.get(shownIn(stream));
      this.output.append(
        bundle ? drawn(bundle, content) : html("span", stream === "stderr" ? "cb-stderr" : "", content),
      );
    }
  }

  private drawValues(look: Look | undefined, looks: ReadonlyMap<string, Look>): void {
    const previews = [...looks].filter(([key]) => key.startsWith("value:"));
    const key = previews.map(([name, { request }]) => `${name} ${request}`).join("\n");
    if (look === this.shownLook && key === this.shownPreviews) return;
    const at = focused(this.root)?.getAttribute("data-of");
    [this.shownLook, this.shownPreviews] = [look, key];
    const inputs = (look?.inputs ?? []).map((value) => this.value("Input", value, looks));
    const result = look?.result ? [this.value("Result", look.result, looks)] : [];
    this.values.replaceChildren(...result, ...inputs);
    if (at) [...this.values.querySelectorAll<HTMLElement>("[data-of]")].find((n) => n.dataset.of === at)?.focus();
  }

  private value(what: string, value: Described, looks: ReadonlyMap<string, Look>): HTMLElement {
    const root = html("div", "cb-value");
    const head = html("div", "cb-value-head");
    const called = what === "Result" ? what : value.of;
    head.append(html("b", "", called), html("span", "cb-mut", value.of === value.name ? "" : `from ${value.name}`));
    if (what === "Result") head.lastElementChild?.replaceChildren();
    root.append(head);
    if (value.note) {
      root.append(html("div", "cb-mut", value.note));
      return root;
    }
    const digest = value.digest ? `digest ${value.digest}` : "";
    const seen = looks.get(`value:${value.of}`);
    const more = button("cb-button cb-small", seen ? "Hide" : "Preview", () => this.acts.preview(value.of));
    more.dataset.of = value.of;
    more.setAttribute("aria-label", `${seen ? "Hide" : "Preview"} ${called}`);
    more.setAttribute("aria-expanded", String(seen !== undefined));
    head.append(html("span", "cb-grow"), more);
    root.append(html("div", "cb-mut cb-num", [value.type, value.size, digest].filter(Boolean).join(" · ")));
    if (seen) root.append(longText("cb-preview", seen.text ?? ""));
    return root;
  }

  private drawCarried(look: Look | undefined): void {
    const table = html("table", "cb-table");
    const body = html("tbody");
    for (const { name, type, size, digest } of look?.items ?? []) {
      const line = html("tr");
      const facts = html("td", "cb-mut cb-num", [type, size].filter(Boolean).join(" · "));
      line.append(html("td", "", name), facts, html("td", "cb-mut cb-mono", digest));
      body.append(line);
    }
    table.append(html("caption", "", "What its code takes along, as it is now"), body);
    this.carried.replaceChildren(...(body.childElementCount ? [table] : []));
  }

  private drawEvents(look: Look | undefined): void {
    this.events.replaceChildren(
      ...(look?.lines ?? []).map(([at, said]) => {
        const line = html("li");
        line.append(html("span", "cb-mut cb-num cb-at", duration(at * 1000)), html("span", "", said));
        return line;
      }),
    );
  }

  private onKey(event: KeyboardEvent): void {
    const at = TABS.findIndex((tab) => this.buttons.get(tab) === event.target);
    const targets: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 };
    const target = targets[event.key];
    if (at < 0 || target === undefined) return;
    const tab = TABS[(target + TABS.length) % TABS.length] as Tab;
    this.buttons.get(tab)?.focus();
    this.acts.open(tab);
    event.preventDefault();
    event.stopPropagation();
  }
}
