/** Names of steps in a column: how wide, how far in, and cut where they must be. Pure. */

import type { Group, Row } from "./model";
import { groupAround, shortName } from "./outline";
import type { Frame } from "./time";

export const MARGIN = 14; // px before and after the names
const NAME_CHAR = 7.5; // px of an average character at 12.5px, bold
const WIDE_CHAR = 13; // px of a character of Chinese, Japanese or Korean, or of an emoji
const INDENT = 16; // px for each group around a line
let segmenter: Intl.Segmenter | undefined; // made once, when first needed
const TAIL = 0.6; // characters after a cut for each before it

/** px before the name of a line: names of one level stand in one column, a group's twisty before it. */
export function indent(depth: number): number {
  return MARGIN + depth * INDENT;
}

/** px of a name; an average for what is narrow, so that a column is no wider than it must. */
export function nameWidth(name: string): number {
  if (/^[\x20-\x7e]*$/.test(name)) return name.length * NAME_CHAR;
  let width = 0;
  for (const char of name) width += charWidth(char);
  return width;
}

function charWidth(char: string): number {
  const code = char.codePointAt(0) ?? 0;
  if (/\p{M}|\p{Cf}/u.test(char)) return 0;
  const wide =
    (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff);
  return wide || (code >= 0xff00 && code <= 0xff60) || code >= 0x1f000 ? WIDE_CHAR : NAME_CHAR;
}

/** px of the widest name with its indent. Rows and groups count that are not in sight: opening one moves no bars. */
export function widest(rows: readonly Row[], groups: readonly Group[]): number {
  let most = 0;
  for (const row of rows) {
    const depth = row.group ? row.group.split("/").length : 0;
    most = Math.max(most, nameWidth(shortName(row.step, row.group)) + INDENT * depth);
  }
  for (const [name] of groups) {
    const short = shortName(name, groupAround(name, groups));
    most = Math.max(most, nameWidth(short) + INDENT * name.split("/").length);
  }
  return most;
}

/**
 * A name that fits before the bars; the whole of it is in the tooltip. Cut in the middle, as it is often the end that
 * differs, and between what people see as characters.
 */
export function shortened(name: string, f: Frame, before = MARGIN): string {
  const room = f.left - MARGIN - before + 6;
  if (nameWidth(name) <= room) return name;
  const all = [...characters(name)];
  const [head, tail]: [string[], string[]] = [[], []];
  let width = NAME_CHAR; // of the dots
  for (let first = 0, last = all.length - 1; first <= last; ) {
    const atEnd = tail.length < TAIL * head.length;
    const char = all[atEnd ? last-- : first++] ?? "";
    width += nameWidth(char);
    if (width > room && head.length >= 2) break;
    if (atEnd) tail.unshift(char);
    else head.push(char);
  }
  return `${head.join("")}…${tail.join("")}`;
}

function characters(name: string): Iterable<string> {
  if (/^[\x20-\x7e]*$/.test(name) || typeof Intl.Segmenter !== "function") return name;
  segmenter ??= new Intl.Segmenter();
  return Array.from(segmenter.segment(name), ({ segment }) => segment);
}
