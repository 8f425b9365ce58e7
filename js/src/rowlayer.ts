/** The rows that are in sight: their views come and go, and are used again. */

import { type Compared, earlierMarks } from "./compare";
import { svg } from "./dom";
import { begin, groupPicture, picture } from "./layout";
import type { Group, Row, Store } from "./model";
import { indent, shortened } from "./names";
import {
  groupAround,
  groupPlace,
  isOpen,
  type Line,
  type Outline,
  type Summary,
  shortName,
  summarise,
} from "./outline";
import { Hatches } from "./palette";
import { GroupView, type Look, RowView } from "./rowview";
import type { Frame } from "./time";

const LEADERS_UP_TO = 40; // lines: beyond, dotted lines would be all that one sees

/** All that the rows are drawn from, beside the store. */
export interface Scene {
  f: Frame;
  now: number;
  outline: Outline;
  /** Lines [first, end), drawn from `top` on: px of all lines before. */
  sight: { first: number; end: number; top: number };
  folds: ReadonlyMap<string, boolean>;
  filtered: boolean;
  active: number;
  selected: number | null;
  relatives: ReadonlySet<number> | null;
  critical: ReadonlySet<number>;
  compared: Compared | null;
}

export class RowLayer {
  readonly list = svg("g");
  readonly hatches = new Hatches();
  private readonly views = new Map<number, RowView | GroupView>();
  private readonly spareRows: RowView[] = [];
  private readonly spareGroups: GroupView[] = [];
  private summaries = new Map<number, Summary>();
  private summed: unknown = null; // the snapshot that they are of

  constructor(private readonly store: Store) {}

  view(id: number): RowView | GroupView | undefined {
    return this.views.get(id);
  }

  draw(scene: Scene): void {
    const { outline, sight, active } = scene;
    const wanted = outline.lines.slice(sight.first, sight.end);
    const place = outline.place(active) ?? -1;
    const kept = outline.lines[place];
    // The row that Tab reaches stays in the document, else the keyboard would lose its place.
    if (kept && place < sight.first) wanted.unshift(kept);
    else if (kept && place >= sight.end) wanted.push(kept);
    const keep = new Set(wanted.map((line) => line.id));
    for (const [id, view] of this.views) {
      if (keep.has(id)) continue;
      view.root.remove();
      this.views.delete(id);
      if (view instanceof RowView) this.spareRows.push(view);
      else this.spareGroups.push(view);
    }
    if (this.summed !== this.store.snapshot) {
      this.summed = this.store.snapshot;
      this.summaries = new Map();
    }
    wanted.forEach((line, i) => {
      const view = line.id < 0 ? this.group(scene, line) : this.row(scene, line);
      const there = this.list.children[i];
      if (view && there !== view.root) this.list.insertBefore(view.root, there ?? null);
    });
  }

  private row(scene: Scene, line: Line): RowView | undefined {
    const row = this.store.row(line.id);
    if (!row) return undefined;
    const known = this.views.get(line.id);
    const view = known instanceof RowView ? known : (this.spareRows.pop() ?? new RowView());
    this.views.set(line.id, view);
    const { f, now, outline, compared } = scene;
    const [active, selected, dim] = states(scene, row.id);
    const critical = scene.critical.has(row.id);
    const slack = this.store.header?.slack[row.id] ?? null;
    const own = [row, line, f, scene.sight.top, compared, slack, critical, active, selected, dim];
    // What is over stays as it is; the others go on with time, or stand where their needs do.
    if (view.isOf(isOver(row) ? own : [...own, now, this.store.snapshot])) return view;
    const beside = compared?.beside(row) ?? null;
    const weight = {
      critical,
      slack,
      leader: outline.lines.length <= LEADERS_UP_TO,
      difference: beside?.difference ?? "",
    };
    const drawn = picture(f, row, now, (id) => this.store.row(id), weight);
    if (beside) drawn.marks.unshift(...earlierMarks(f, beside.earlier));
    const look = this.look(scene, line, shortName(row.step, row.group));
    view.update(row, drawn, look, critical, beside?.spoken);
    return view;
  }

  private group(scene: Scene, line: Line): GroupView | undefined {
    const group = this.groups[groupPlace(line.id)];
    if (!group) return undefined;
    const known = this.views.get(line.id);
    const view = known instanceof GroupView ? known : (this.spareGroups.pop() ?? new GroupView());
    this.views.set(line.id, view);
    const rows = this.inside(group);
    const summary = this.summaries.get(line.id) ?? summarise(rows);
    this.summaries.set(line.id, summary);
    const open = isOpen(group, scene.folds, scene.filtered);
    const at = rows[0] ? begin(rows[0], (id) => this.store.row(id)) : 0;
    const beside = open ? null : scene.compared?.group(group[0], summary, rows);
    const drawn = groupPicture(scene.f, summary, open, scene.now, at, beside?.difference);
    if (beside) drawn.marks.unshift(...earlierMarks(scene.f, beside.earlier));
    const look = this.look(scene, line, shortName(group[0], groupAround(group[0], this.groups)));
    const dim = scene.relatives !== null && !rows.some((row) => scene.relatives?.has(row.id));
    view.update(line.id, group, summary, open, drawn, { ...look, dim }, beside?.spoken);
    return view;
  }

  private get groups(): readonly Group[] {
    return this.store.header?.groups ?? [];
  }

  private inside([, first, stop]: Group): Row[] {
    return this.store.rows.slice(this.store.place(first), (this.store.place(stop - 1) ?? Infinity) + 1);
  }

  private look(scene: Scene, line: Line, name: string): Look {
    const { outline, sight, f } = scene;
    const place = outline.place(line.id) ?? 0;
    const before = indent(line.depth);
    const [active, selected, dim] = states(scene, line.id);
    return {
      y: outline.top(place) - sight.top,
      height: outline.heightOf(place),
      width: f.width,
      name: shortened(name, f, before),
      indent: before,
      active,
      selected,
      dim,
      hatches: this.hatches,
    };
  }
}

/** Whether the Tab key reaches a line, whether it is selected, and whether it has nothing to do with what is. */
function states({ active, selected, relatives }: Scene, id: number): [boolean, boolean, boolean] {
  return [id === active, id === selected, relatives !== null && !relatives.has(id)];
}

const OVER: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled", "cached", "reused", "undone"]);

/** Whether a row stays as it is. One without attempts stands where others ended. */
function isOver({ status, segments }: Row): boolean {
  return OVER.has(status) && segments.length > 0 && segments.every(({ end }) => end !== null);
}
