/** The line below the header: what the colours mean, how many steps stand how, and which of them to show. */

import { button, focused, html, show, svg, text } from "./dom";
import { counted, countedAs, isFiltered, NO_FILTER, toggled } from "./filter";
import { statusName, thousands } from "./format";
import type { Acts } from "./header";
import type { Row, Store } from "./model";
import { Hatches, type Paint, paint } from "./palette";
import { roving, settled } from "./roving";
import type { ViewState } from "./viewstate";

const ORDER = ["failed", "approval", "running", "sleeping", "submitted", "waiting", "succeeded", "cached", "reused"];
const SHORT: Readonly<Record<string, string>> = { approval: "to approve", submitted: "queued" };

/** What is no place: the parts of an attempt beside its run. */
type Part = "queue" | "way" | "pause";

const MEANING: Readonly<Record<Part, string>> = {
  queue: "Waited for a worker",
  way: "Its values were on the way to the worker, and the result on the way back",
  pause: "Slept, or waited for an answer",
};

export class Legend {
  readonly root = html("div", "cb-legend");
  private readonly keys = html("span", "cb-keys");
  private readonly counts = html("span", "cb-counts cb-num");
  private readonly search = html("input", "cb-search");
  private readonly found = html("span", "cb-found cb-num");
  private readonly all: HTMLButtonElement;
  private readonly gaps: HTMLButtonElement;
  private readonly fit: HTMLButtonElement;
  private readonly hatches = new Hatches();
  private readonly critical: HTMLButtonElement;
  private known = new Map<string, Paint | Part>();
  private drawn = "";
  private counted = "";

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    acts: Acts,
  ) {
    const patterns = svg("svg", { class: "cb-patterns", width: 0, height: 0, "aria-hidden": "true" });
    patterns.append(this.hatches.defs);
    this.critical = this.key("critical path", this.line(), () => this.filter({ critical: !state.filter.critical }));
    this.critical.title = "What held the run up. Click to show only that";
    roving(this.keys);
    roving(this.counts);
    this.keys.setAttribute("aria-label", "Where steps run: show only");
    this.counts.setAttribute("aria-label", "How steps stand: show only");
    this.found.setAttribute("role", "status");
    this.all = button("cb-link", "show all", () => this.clear());
    this.gaps = button("cb-button", "cut gaps", () => state.set({ gaps: !state.gaps, zoom: null }));
    this.gaps.title = "Draw the time in which nothing ran short";
    const zoom = html("span", "cb-zoom");
    const less = button("cb-button", "−", () => acts.zoom(1.6));
    const more = button("cb-button", "+", () => acts.zoom(0.625));
    this.fit = button("cb-button cb-fit", "fit", () => acts.fit());
    less.setAttribute("aria-label", "Zoom out");
    more.setAttribute("aria-label", "Zoom in");
    this.fit.setAttribute("aria-label", "fit: show the whole run");
    less.title = "Zoom out: − or Ctrl + wheel";
    more.title = "Zoom in: + or Ctrl + wheel";
    this.fit.title = "Show the whole run: 0";
    zoom.append(this.gaps, less, more, this.fit);
    this.searches();
    const end = html("span", "cb-end");
    end.append(this.found, this.all, this.search, zoom);
    this.root.append(patterns, this.keys, this.counts, end);
  }

  /** Every kind that occurs, from the beginning. */
  adopt(): void {
    this.known = new Map();
    this.see(this.store.rows);
  }

  /** Rows that changed: a kind once seen stays in the legend. */
  see(rows: Iterable<Row>): void {
    const least = 0.004 * this.store.now();
    for (const row of rows) {
      // A decision has no bar: where it is made is no colour here.
      if (row.kind === "undo") this.known.set("undo", "undo");
      else if (row.kind === "step") {
        this.note(row);
        for (const segment of row.segments) this.note(segment);
      }
      if (row.status === "sleeping" || row.status === "approval") this.known.set("paused", "pause");
      if (row.segments.some((s) => s.start === null || s.start - (s.send ?? 0) - s.queued > least))
        this.known.set("queue", "queue");
      if (row.segments.some(({ send = 0, fetch = 0 }) => send > least || fetch > least))
        this.known.set("send, fetch", "way");
    }
    const rank = ["local", "dist", "pool", "undo", "queue", "way", "pause"];
    const place = (kind: string): number => rank.indexOf(kind.split("-")[0] ?? "");
    const list = [...this.known].sort((a, b) => place(a[1]) - place(b[1]) || (a[0] < b[0] ? -1 : 1));
    const now = JSON.stringify(list);
    if (now === this.drawn) return;
    this.drawn = now;
    const focus = focused(this.root);
    const held = this.keys.contains(focus) ? focus?.textContent : null;
    this.keys.replaceChildren(...list.map(([label, kind]) => this.placeKey(label, kind)), this.critical);
    if (held) this.keyOf(held)?.focus();
  }

  private note(place: { where: string; remote: boolean }): void {
    const label = place.remote ? place.where : "local";
    if (!this.known.has(label)) this.known.set(label, paint(place));
  }

  draw(): void {
    const { header } = this.store;
    if (!header) return;
    const { filter, matches } = this.state;
    this.drawCounts();
    for (const key of this.keys.querySelectorAll<HTMLElement>("[data-place]")) {
      key.setAttribute("aria-pressed", String(filter.places.has(key.dataset.place ?? "")));
    }
    this.critical.setAttribute("aria-pressed", String(filter.critical));
    show(this.critical, header.critical.length > 0);
    settled(this.keys);
    const on = isFiltered(filter);
    const tries = header.retries ? `, ${header.retries === 1 ? "1 retry" : `${header.retries} retries`}` : "";
    const total = thousands(this.store.rows.length);
    const count = thousands(matches ?? 0);
    text(
      this.found,
      on ? `${count} of ${total} shown` : `${thousands(header.done)} of ${thousands(header.total)} steps${tries}`,
    );
    show(this.all, on);
    if (this.search.value !== filter.text && this.search !== focused(this.root)) this.search.value = filter.text;
    show(this.gaps, this.state.gaps || this.state.idle);
    this.gaps.setAttribute("aria-pressed", String(this.state.gaps));
    this.fit.disabled = this.state.zoom === null;
  }

  private drawCounts(): void {
    const { header, rows } = this.store;
    const sums = new Map<string, number>();
    for (const [status, count] of header?.counts.length ? header.counts : counted(rows)) {
      sums.set(countedAs(status), (sums.get(countedAs(status)) ?? 0) + count);
    }
    // Who is pressed stays, so that there is something to press again.
    for (const status of this.state.filter.statuses) if (!sums.has(status)) sums.set(status, 0);
    const rank = (status: string): number => (ORDER.indexOf(status) + ORDER.length + 1) % (ORDER.length + 1);
    const list = [...sums].sort((a, b) => rank(a[0]) - rank(b[0]));
    const order = list.map(([status]) => status).join();
    if (order !== this.counted) {
      this.counted = order;
      const known = new Map([...this.counts.children].map((node) => [(node as HTMLElement).dataset.count, node]));
      const wanted = list.map(([status]) => known.get(status) ?? this.chip(status));
      for (const [status, node] of known) if (!sums.has(status ?? "")) node.remove();
      wanted.forEach((node, i) => {
        if (this.counts.children[i] !== node) this.counts.insertBefore(node, this.counts.children[i] ?? null);
      });
    }
    list.forEach(([status, count], i) => {
      const chip = this.counts.children[i] as HTMLElement;
      text(chip.lastChild as Node, `${thousands(count)} ${SHORT[status] ?? statusName(status)}`);
      chip.setAttribute("aria-pressed", String(this.state.filter.statuses.has(status)));
    });
    settled(this.counts);
  }

  private chip(status: string): HTMLButtonElement {
    const chip = button("cb-chip", "", () => this.filter({ statuses: toggled(this.state.filter.statuses, status) }));
    chip.dataset.count = status;
    chip.dataset.status = status;
    chip.append(html("i", "cb-dotlet"), document.createTextNode(""));
    return chip;
  }

  private placeKey(label: string, kind: Paint | Part): HTMLElement {
    if (kind === "queue" || kind === "way" || kind === "pause" || kind === "undo") {
      const key = html("span", "cb-key");
      key.title = kind === "undo" ? "" : MEANING[kind];
      key.append(kind === "undo" ? this.swatch(kind) : html("i", `cb-swatch cb-swatch-${kind}`), label);
      return key;
    }
    const press = (): void => this.filter({ places: toggled(this.state.filter.places, label) });
    const key = this.key(label, this.swatch(kind), press);
    key.dataset.place = label;
    return key;
  }

  private key(label: string, sign: Element, press: () => void): HTMLButtonElement {
    const key = button("cb-key", "", press);
    key.append(sign, label);
    return key;
  }

  private keyOf(label: string): HTMLElement | undefined {
    return [...this.keys.querySelectorAll<HTMLElement>("button")].find((key) => key.textContent === label);
  }

  private swatch(kind: Paint): SVGSVGElement {
    const sign = svg("svg", { class: "cb-swatch", width: 22, height: 10, "aria-hidden": "true" });
    sign.append(svg("rect", { width: 22, height: 10, rx: 2, fill: this.hatches.fill(kind) }));
    return sign;
  }

  private line(): SVGSVGElement {
    const sign = svg("svg", { class: "cb-swatch", width: 22, height: 10, "aria-hidden": "true" });
    sign.append(svg("path", { class: "cb-critical", d: "M1 5h20" }));
    return sign;
  }

  private searches(): void {
    const { search, state } = this;
    search.type = "search";
    search.placeholder = "find a step";
    search.title = "Find a step by its name: /";
    search.setAttribute("aria-label", "Find a step by its name");
    search.setAttribute("spellcheck", "false");
    search.addEventListener("input", () => this.filter({ text: search.value }));
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "ArrowDown") state.toChart();
      else if (event.key === "Escape") {
        search.value = "";
        this.filter({ text: "" });
        state.toChart();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    state.toSearch = () => {
      search.focus();
      search.select();
    };
  }

  private filter(change: object): void {
    this.state.set({ filter: { ...this.state.filter, ...change } });
  }

  private clear(): void {
    this.search.value = "";
    this.state.set({ filter: NO_FILTER });
    this.search.focus(); // the button that was pressed is gone
  }
}
