/**
 * A configuration from YAML, checked against its schema. Every error says where in the file (line and column), what
 * was found and what was expected; an unknown key comes with the key that was probably meant.
 */
import { readFileSync } from "node:fs";
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import { describeIssue, formatPath, type SchemaIssue, UserError } from "../base/index.js";
import { closestName } from "../datasets/index.js";
import { type ConfigKey, configKeys } from "./config-schema.js";

type Path = readonly (string | number)[];

/**
 * Reads the YAML file at `path`.
 *
 * @throws UserError listing every fault of the file.
 */
export function loadConfig<S extends z.ZodType>(path: string, schema: S): z.output<S> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    const reason = { ENOENT: "no such file", EISDIR: "it is a directory", EACCES: "permission denied" }[
      `${code}`
    ];
    if (reason === undefined) throw thrown;
    throw new UserError(`Cannot read ${path}: ${reason}, expected a YAML file`, { cause: thrown });
  }
  return parseConfig(text, path, schema);
}

/** As `loadConfig`, of a text already read; `path` is for messages. */
export function parseConfig<S extends z.ZodType>(text: string, path: string, schema: S): z.output<S> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const fault = document.errors[0];
  if (fault !== undefined) {
    const sentence = fault.message.replace(/\.$/, "");
    throw new UserError(`Cannot read ${place(fault.pos[0])}: ${sentence}, expected valid YAML`);
  }
  const value = plainDataOf(document, path);
  if (!isMap(document.contents)) {
    const found = document.contents === null ? "the file is empty" : "the file holds no keys";
    throw new UserError(`Cannot read ${path}: ${found}, expected keys such as ${requiredOf(schema)}`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const keys = configKeys(schema);
  const faults = parsed.error.issues.flatMap((issue) =>
    sentencesOf(describeIssue(issue, value), keys).map(({ at, target, sentence }) => ({
      offset: offsetOf(document, at, target),
      sentence,
    })),
  );
  const messages = faults
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, sentence }) => `Cannot read ${place(offset)}: ${sentence}`);
  throw new UserError(messages.join("\n"));
}

interface Fault {
  readonly at: Path;
  readonly target: "key" | "value";
  readonly sentence: string;
}

/** An issue as sentences, each with the path of what it is about. */
function sentencesOf(issue: SchemaIssue, keys: readonly ConfigKey[]): Fault[] {
  if (issue.sentence !== undefined) return [{ at: issue.path, target: "value", sentence: issue.sentence }];
  if (issue.unknownKeys === undefined) {
    const name = issue.path.length === 0 ? "the file" : formatPath(issue.path);
    return [
      { at: issue.path, target: "value", sentence: `${name} is ${issue.found}, expected ${issue.expected}` },
    ];
  }
  return issue.unknownKeys.map((key) => ({
    at: [...issue.path, key],
    target: "key",
    sentence: `unknown key "${formatPath([...issue.path, key])}"${suggestion(key, issue.path, keys)}`,
  }));
}

/** The key that was meant: by another trainer's name, of another section, or one of this section that looks like it. */
function suggestion(key: string, section: Path, keys: readonly ConfigKey[]): string {
  const prefix = section.length === 0 ? "" : `${formatPath(section)}.`;
  const siblings = keys.filter(
    ({ path }) => path.startsWith(prefix) && !path.slice(prefix.length).includes("."),
  );
  const names = siblings.map(({ path }) => path.slice(prefix.length));
  const leaf = (path: string): string => path.slice(path.lastIndexOf(".") + 1);
  // A name that another trainer, or another section, has word for word says more than one that looks alike.
  const exact = keys.find(({ path, aliases }) => aliases.includes(key) || leaf(path) === key);
  if (exact !== undefined) return `. Did you mean "${exact.path}"?`;
  const near = closestName(key, names);
  if (near !== undefined) return `. Did you mean "${prefix}${near}"?`;
  const elsewhere =
    closestName(
      key,
      keys.map(({ path }) => leaf(path)),
    ) ??
    closestName(
      key,
      keys.map(({ path }) => path),
    );
  const meant = keys.find(({ path }) => path === elsewhere || leaf(path) === elsewhere);
  if (meant !== undefined) return `. Did you mean "${meant.path}"?`;
  return `, expected one of ${names.map((name) => `"${name}"`).join(", ")}`;
}

/** Where in the text the value (or the key) at `path` begins; of what is not there, the innermost section that should hold it. */
function offsetOf(document: Document, path: Path, target: "key" | "value"): number {
  let node: unknown = document.contents;
  let offset = rangeStart(node) ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) return offset;
      const isTarget = depth === path.length - 1 && target === "key";
      offset = (isTarget ? undefined : rangeStart(pair.value)) ?? rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = rangeStart(node) ?? offset;
    } else return offset;
  }
  return offset;
}

function rangeStart(node: unknown): number | undefined {
  return isNode(node) ? (node.range?.[0] ?? undefined) : undefined;
}

/** The document as plain data; aliases that multiply without end are refused by the parser. */
function plainDataOf(document: Document, path: string): unknown {
  try {
    return document.toJS();
  } catch (thrown) {
    if (!(thrown instanceof Error)) throw thrown;
    throw new UserError(`Cannot read ${path}: ${thrown.message}`, { cause: thrown });
  }
}

function requiredOf(schema: z.ZodType): string {
  const required = configKeys(schema).filter(({ isRequired, path }) => isRequired && !path.includes("."));
  return required.map(({ path }) => `"${path}"`).join(" and ");
}
