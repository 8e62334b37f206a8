/** Rows that contradict each other, and rows that tell nothing because everything in them ties. */
import { canonical } from "../records/implicit-prompt.js";
import { promptKey } from "../records/read-records.js";
import type { DataRecord, Words } from "../records/record.js";

export interface Consistency {
  /** Lines of rows that another row contradicts: the pair turned round, or the same answer with the other label. */
  readonly contradictions: readonly (readonly [number, number])[];
  /** Answers of each label, where rows have labels. */
  readonly labels?: { readonly desirable: number; readonly undesirable: number };
  /** Prompts with several scored outputs, and those of them whose scores are all equal. */
  readonly scoreGroups?: { readonly prompts: number; readonly tied: number };
}

export function measureConsistency(records: readonly DataRecord[]): Consistency {
  const labelled = records.filter(({ kind }) => kind === "unpaired");
  const desirable = labelled.filter((record) => record.kind === "unpaired" && record.label).length;
  const groups = new Map<string, number[]>();
  for (const record of records) {
    if (record.kind !== "scored") continue;
    const key = promptKey(record);
    const scores = groups.get(key) ?? [];
    groups.set(key, scores);
    scores.push(record.score);
  }
  const several = [...groups.values()].filter(({ length }) => length > 1);
  return {
    contradictions: contradictions(records),
    ...(labelled.length === 0 ? {} : { labels: { desirable, undesirable: labelled.length - desirable } }),
    ...(groups.size === 0
      ? {}
      : {
          scoreGroups: {
            prompts: several.length,
            tied: several.filter((scores) => scores.every((score) => score === scores[0])).length,
          },
        }),
  };
}

function contradictions(records: readonly DataRecord[]): [number, number][] {
  const said = new Map<string, number>();
  const found: [number, number][] = [];
  for (const record of records) {
    const statement = statementOf(record);
    if (statement === undefined) continue;
    const opposite = said.get(statement.opposite);
    if (opposite !== undefined) found.push([opposite, record.line]);
    if (!said.has(statement.own)) said.set(statement.own, record.line);
  }
  return found;
}

/** What a row claims and what would contradict it; identical answers claim nothing. */
function statementOf(record: DataRecord): { own: string; opposite: string } | undefined {
  const key = (...parts: readonly (Words | boolean)[]): string => canonical(parts);
  if (record.kind === "preference") {
    const { prompt, chosen, rejected } = record;
    const own = key(prompt, chosen, rejected);
    const opposite = key(prompt, rejected, chosen);
    return own === opposite ? undefined : { own, opposite };
  }
  if (record.kind !== "unpaired") return undefined;
  const { prompt, completion, label } = record;
  return { own: key(prompt, completion, label), opposite: key(prompt, completion, !label) };
}
