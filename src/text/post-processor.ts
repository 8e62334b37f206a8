/** The tokens that `tokenizer.json`'s `post_processor` puts around one text (BOS, EOS). Ids only. */
import { UserError } from "../base/index.js";
import { describe, isRecord, isStage, isTokenId, type Stage } from "./tokenizer-json.js";

export interface SurroundingTokens {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

export function parsePostProcessor(stage: Stage | null, where: string): SurroundingTokens {
  switch (stage?.type) {
    case undefined:
    case "ByteLevel":
      return { before: [], after: [] };
    case "Sequence": {
      const inner = stage!["processors"];
      if (!Array.isArray(inner) || !inner.every(isStage)) break;
      return inner.reduce<SurroundingTokens>(
        (around, each) => {
          const { before, after } = parsePostProcessor(each, where);
          return { before: [...before, ...around.before], after: [...around.after, ...after] };
        },
        { before: [], after: [] },
      );
    }
    case "BertProcessing":
    case "RobertaProcessing":
      return { before: [pairId(stage!["cls"], where)], after: [pairId(stage!["sep"], where)] };
    case "TemplateProcessing":
      return parseTemplate(stage!, where);
    default:
  }
  throw new UserError(
    `Cannot read tokenizer ${where}: post-processor is ${describe(stage)} of type "${stage?.type}", expected TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing or a Sequence of them`,
  );
}

function pairId(value: unknown, where: string): number {
  const id: unknown = Array.isArray(value) ? value[1] : undefined;
  if (isTokenId(id)) return id;
  throw new UserError(
    `Cannot read tokenizer ${where}: post-processor names ${JSON.stringify(value)}, expected a token with its id`,
  );
}

function parseTemplate(stage: Stage, where: string): SurroundingTokens {
  const items: unknown = stage["single"];
  const special = stage["special_tokens"];
  const before: number[] = [];
  const after: number[] = [];
  let target = before;
  for (const item of Array.isArray(items) ? items : []) {
    const token = isRecord(item) ? item["SpecialToken"] : undefined;
    if (isRecord(item) && isRecord(item["Sequence"])) {
      target = after;
    } else if (isRecord(token)) {
      const entry = isRecord(special) ? special[String(token["id"])] : undefined;
      const ids: unknown = isRecord(entry) ? entry["ids"] : undefined;
      if (!Array.isArray(ids) || !ids.every(isTokenId)) {
        throw new UserError(
          `Cannot read tokenizer ${where}: template names ${JSON.stringify(token["id"])}, expected its ids in "special_tokens"`,
        );
      }
      target.push(...ids);
    }
  }
  return { before, after };
}
