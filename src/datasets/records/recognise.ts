/** Which kind of record a row is, from its columns alone. What fits two kinds is refused, never guessed. */
import { UserError } from "../../base/index.js";
import { closestName } from "../closest-name.js";
import type { RecordKind } from "./record.js";

type Row = Readonly<Record<string, unknown>>;

/** The kinds, with the columns that make them, as messages name them. */
export const KINDS: Readonly<Record<RecordKind, string>> = {
  preference: '"chosen" and "rejected", with or without "prompt"',
  unpaired: '"prompt", "completion" and "label"',
  scored: '"prompt", "completion" and "score"',
  prompt: '"prompt" alone',
  demonstration: '"messages", "prompt" and "completion", or "text"',
};

/**
 * The kind of `row`.
 *
 * @throws UserError when the columns make no kind, or more than one
 */
export function recogniseKind(row: Row, at: string): RecordKind {
  const has = (column: string): boolean => row[column] !== undefined && row[column] !== null;
  const candidates: RecordKind[] = [];
  if (has("chosen") || has("rejected")) candidates.push("preference");
  if (has("messages") || has("text")) candidates.push("demonstration");
  if (has("completion")) {
    if (has("label")) candidates.push("unpaired");
    if (has("score")) candidates.push("scored");
    if (!has("label") && !has("score")) candidates.push("demonstration");
  } else if (has("prompt") && candidates.length === 0) candidates.push("prompt");

  const [kind, other] = new Set(candidates);
  const columns = Object.keys(row).filter(has);
  if (kind === undefined) throw unrecognised(columns, at);
  if (other !== undefined) {
    throw new UserError(
      `Cannot tell what ${at} is: its columns ${quoted(columns)} fit ${KINDS[kind]} (${kind}) and ${KINDS[other]} (${other}), expected one of them. Say which with --kind ${kind} or --kind ${other}`,
    );
  }
  if (kind === "preference") requireColumns(row, ["chosen", "rejected"], kind, at);
  if (kind === "unpaired" || kind === "scored") requireColumns(row, ["prompt"], kind, at);
  return kind;
}

/** @throws UserError where `row` lacks one of `columns`, which its kind needs */
export function requireColumns(row: Row, columns: readonly string[], kind: RecordKind, at: string): void {
  for (const column of columns) {
    if (row[column] !== undefined && row[column] !== null) continue;
    const present = Object.keys(row);
    const meant = closestName(
      column,
      present.filter((name) => !columns.includes(name)),
    );
    throw new UserError(
      `Cannot read ${at} as ${kind}: the row has no "${column}" (it has ${quoted(present)}), expected ${KINDS[kind]}. ${
        meant === undefined ? "Name the column" : `Did you mean "${meant}"? Then name it`
      } with --columns ${column}=${meant ?? "NAME"}`,
    );
  }
}

function unrecognised(columns: readonly string[], at: string): UserError {
  const kinds = Object.entries(KINDS).map(([kind, wanted]) => `${wanted} (${kind})`);
  for (const field of ["prompt", "completion", "chosen", "rejected", "messages", "text"]) {
    const meant = closestName(field, columns);
    if (meant === undefined) continue;
    return new UserError(
      `Cannot tell what ${at} is: it has ${quoted(columns)}, expected ${kinds.join("; ")}. Did you mean --columns ${field}=${meant}?`,
    );
  }
  return new UserError(
    `Cannot tell what ${at} is: it has ${columns.length === 0 ? "no columns" : quoted(columns)}, expected ${kinds.join("; ")}. Name the columns, for example --columns prompt=${columns[0] ?? "question"}`,
  );
}

const quoted = (columns: readonly string[]): string => columns.map((name) => `"${name}"`).join(", ");
