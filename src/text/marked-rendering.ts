/**
 * Where a message's own text lies in a rendering: it is rendered again with marks around that text, and the marks
 * are believed only when taking them out gives the first rendering back, unit for unit.
 */
import { UserError } from "../base/index.js";

/** Units `start` up to `end` of a text. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface Marks {
  readonly start: string;
  readonly end: string;
}

/** Private-use characters of plane 15, one pair per message; none of them may occur in the chat itself. */
const FIRST_MARK = 0xf0000;
const LAST_MARK = 0xffffd;

/** A pair of marks for each of `count` messages. */
export function createMarks(text: string, count: number): Marks[] {
  if (FIRST_MARK + count * 2 > LAST_MARK) {
    throw new UserError(
      `Cannot render chat: it has ${count} messages, expected at most ${(LAST_MARK - FIRST_MARK) >> 1}`,
    );
  }
  const used = new Set(text.match(/[\u{F0000}-\u{FFFFD}]/gu));
  const free: string[] = [];
  for (let code = FIRST_MARK; code <= LAST_MARK && free.length < count * 2; code++) {
    const mark = String.fromCodePoint(code);
    if (!used.has(mark)) free.push(mark);
  }
  if (free.length < count * 2) {
    throw new UserError(
      "Cannot render chat: it uses nearly all private-use characters of plane 15, expected some left to mark spans with",
    );
  }
  return Array.from({ length: count }, (_, i) => ({ start: free[i * 2]!, end: free[i * 2 + 1]! }));
}

/** The text without any marks, and for each pair its ranges in that text (none where a mark is missing). */
export function takeMarksOut(marked: string, marks: readonly Marks[]): { text: string; ranges: Range[][] } {
  const roles = new Map<string, { readonly message: number; readonly isStart: boolean }>();
  marks.forEach(({ start, end }, message) => {
    roles.set(start, { message, isStart: true });
    roles.set(end, { message, isStart: false });
  });
  const ranges: Range[][] = marks.map(() => []);
  const open: (number | undefined)[] = marks.map(() => undefined);
  const broken = new Set<number>();
  let text = "";
  let done = 0;
  for (const match of marked.matchAll(/[\u{F0000}-\u{FFFFD}]/gu)) {
    const role = roles.get(match[0]);
    if (role === undefined) continue;
    text += marked.slice(done, match.index);
    done = match.index + match[0].length;
    const from = open[role.message];
    if (role.isStart === (from !== undefined)) broken.add(role.message);
    if (role.isStart) {
      open[role.message] = text.length;
    } else {
      if (from !== undefined) ranges[role.message]!.push({ start: from, end: text.length });
      open[role.message] = undefined;
    }
  }
  text += marked.slice(done);
  return { text, ranges: ranges.map((list, i) => (broken.has(i) || open[i] !== undefined ? [] : list)) };
}
