/** One line of the chart, a task's or a group's: owns its `<g>`, and touches only what differs. */

import { attr, focused, svg, text } from "./dom";
import { type Seen, seenWords, spoken, statusName } from "./format";
import type { Picture } from "./layout";
import { Strip } from "./marks";
import type { Group, Row } from "./model";
import type { Summary } from "./outline";
import type { Hatches } from "./palette";

export interface Look {
  y: number;
  height: number;
  width: number;
  name: string;
  indent: number;
  active: boolean;
  selected: boolean;
  dim: boolean; // another step is selected, and this one has nothing to do with it
  hatches: Hatches;
}

function seenIn({ label, inner }: Picture, { name }: Look): Seen {
  return [name, label.text, inner?.text ?? ""];
}

/** What a task and a group have in common. */
abstract class LineView {
  readonly root = svg("g", { class: "cb-row", role: "button" });
  protected readonly strip = new Strip();
  protected readonly name = svg("text", { class: "cb-name" });
  private readonly tooltip = svg("title");
  private told = ""; // to whom cannot see it, without its figures
  private readonly band = svg("rect", { class: "cb-band", x: 0, y: 0 });
  private readonly ring = svg("rect", { class: "cb-ring", x: 1.5, y: 1.5, rx: 3 });

  constructor() {
    const { bars, label, inner } = this.strip;
    // Spaces between the texts, for whatever reads them one after the other.
    this.root.append(this.tooltip, this.band, this.name, " ", bars, label, " ", inner, this.ring);
  }

  hover(tip: string): void {
    text(this.tooltip, tip);
  }

  /** Where a menu may stand: beside the last bar, or the name if there is none. */
  anchor(): Element {
    return this.strip.bars.lastElementChild ?? this.name;
  }

  /** A clock that runs in the name of what has the focus would be read aloud without end: there only words count. */
  protected say(words: string): void {
    const still = words.replace(/[\d.]+/g, "");
    if (still === this.told && focused(this.root) === this.root) return;
    this.told = still;
    attr(this.root, "aria-label", words);
  }

  protected place(picture: Picture, look: Look): void {
    attr(this.root, "transform", `translate(0 ${look.y})`);
    attr(this.root, "tabindex", look.active ? 0 : -1);
    this.root.classList.toggle("cb-selected", look.selected);
    this.root.classList.toggle("cb-dim", look.dim);
    attr(this.band, "width", look.width);
    attr(this.band, "height", look.height);
    attr(this.ring, "width", look.width - 3);
    attr(this.ring, "height", look.height - 3);
    attr(this.name, "x", look.indent);
    attr(this.name, "y", look.height / 2 + 4);
    text(this.name, look.name);
    this.strip.draw(picture, look.height, look.hatches);
  }
}

export class RowView extends LineView {
  private of: readonly unknown[] = [];
  private row: Row | null = null;
  private critical = false;
  private words = "";

  /** Whether it is drawn from these very things; from now on it is taken to be. */
  isOf(things: readonly unknown[]): boolean {
    const same = things.every((thing, i) => thing === this.of[i]);
    this.of = things;
    return same;
  }

  /** `more` is said after all that is seen. */
  update(row: Row, picture: Picture, look: Look, critical: boolean, more = ""): void {
    const seen = seenIn(picture, look);
    const words = `${seenWords(seen)}, ${more}`;
    if (row !== this.row || critical !== this.critical || words !== this.words) {
      this.say([spoken(row, seen, critical), more].filter(Boolean).join(", "));
    }
    if (row !== this.row) this.describe(row);
    [this.row, this.critical, this.words] = [row, critical, words];
    this.place(picture, look);
  }

  private describe(row: Row): void {
    // Who is asked gets the panel, with the question; all others a menu.
    attr(this.root, "aria-haspopup", row.status === "approval" ? "dialog" : "menu");
    attr(this.root, "data-step", row.step);
    attr(this.root, "data-status", row.status);
    attr(this.root, "data-kind", row.kind);
    attr(this.root, "data-executor", row.where);
    attr(this.root, "data-attempt", row.attempt);
    attr(this.root, "data-id", row.id);
  }
}

export class GroupView extends LineView {
  private readonly twisty = svg("path", { class: "cb-twisty" });

  constructor() {
    super();
    this.root.classList.add("cb-group");
    this.name.before(this.twisty);
  }

  update(id: number, group: Group, summary: Summary, open: boolean, picture: Picture, look: Look, told = ""): void {
    const { status, done, total } = summary;
    const seen = seenIn(picture, look);
    const more = [group[0], statusName(status), `${done} of ${total}`];
    const unsaid = more.filter((words) => words !== look.name && !seen[1].split(" · ").includes(words));
    this.say([seenWords(seen), ...unsaid, told].filter(Boolean).join(", "));
    attr(this.root, "aria-expanded", String(open));
    attr(this.root, "data-group", group[0]);
    attr(this.root, "data-status", status);
    attr(this.root, "data-id", id);
    const [x, y] = [look.indent - 8, look.height / 2];
    attr(this.twisty, "d", open ? `M${x - 4} ${y - 2}l4 4l4 -4` : `M${x - 2} ${y - 4}l4 4l-4 4`);
    this.hover([group[0], `${statusName(status)}, ${done} of ${total} steps`].join("\n"));
    this.place(picture, look);
  }
}
