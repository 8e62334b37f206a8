/**
 * Format: does the completion have the form that was asked for? Knows forms, not languages: what is inside a fence is
 * another component's business.
 */
import type { Grade } from "./reward.js";

/**
 * `bare`: nothing but the answer. `fenced`: the answer in one fenced code block, words around it allowed.
 */
export type AnswerForm = "bare" | "fenced";

/** The answer within a completion; a completion of the wrong form may still have one, for other components to judge. */
export interface ReadAnswer {
  /** Trimmed; empty when there is none to be found. */
  readonly answer: string;
  /** What keeps the form from being the one that was asked for. */
  readonly problem?: string;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$/;

/** Finds the answer in `text`. `languages` are the names a fence may carry, any when left out. */
export function readAnswer(
  text: string,
  form: AnswerForm,
  { languages }: { readonly languages?: readonly string[] } = {},
): ReadAnswer {
  const { blocks, isOpen } = fencedBlocks(text);
  if (form === "bare") {
    const answer = text.trim();
    if (answer === "") return { answer, problem: "the completion is empty" };
    return blocks.length > 0 || isOpen
      ? {
          answer: blocks[0]?.body ?? answer,
          problem: "the answer is fenced, expected nothing but the answer",
        }
      : { answer };
  }
  const [block] = blocks;
  if (block === undefined) {
    const answer = isOpen ? text.slice(text.search(/(`{3,}|~{3,})/)).replace(/^.*\n?/, "") : text;
    return { answer: answer.trim(), problem: isOpen ? "the fence is never closed" : "there is no fence" };
  }
  if (isOpen) return { answer: block.body, problem: "a second fence is never closed" };
  // Several answers are a way to have one of them right; none of them is "the" answer, so the first one counts.
  if (blocks.length > 1) return { answer: block.body, problem: `${blocks.length} fences, expected 1` };
  if (block.body === "") return { answer: "", problem: "the fence is empty" };
  if (languages !== undefined && block.language !== "" && !languages.includes(block.language)) {
    return {
      answer: block.body,
      problem: `the fence says "${block.language}", expected ${languages.map((one) => `"${one}"`).join(" or ")}`,
    };
  }
  return { answer: block.body };
}

/** 1 when the form is right, else 0 and why. A completion cut off by the token limit has no form. */
export function formatGrade(answer: ReadAnswer, options: { readonly isTruncated?: boolean } = {}): Grade {
  if (options.isTruncated === true) return { score: 0, evidence: "cut off at the token limit" };
  return answer.problem === undefined ? { score: 1 } : { score: 0, evidence: answer.problem };
}

interface Block {
  readonly language: string;
  readonly body: string;
}

/** Fenced blocks as CommonMark has them: closed by as many of the same mark, or more, with nothing behind. */
function fencedBlocks(text: string): { readonly blocks: Block[]; readonly isOpen: boolean } {
  const blocks: Block[] = [];
  let open: { readonly mark: string; readonly language: string; readonly lines: string[] } | undefined;
  for (const line of text.split(/\r?\n/)) {
    const [, mark, info] = FENCE.exec(line) ?? [];
    if (open === undefined) {
      if (mark !== undefined) open = { mark, language: info!.trim().toLowerCase(), lines: [] };
    } else if (mark?.[0] === open.mark[0] && mark!.length >= open.mark.length && info!.trim() === "") {
      blocks.push({ language: open.language, body: open.lines.join("\n").trim() });
      open = undefined;
    } else open.lines.push(line);
  }
  return { blocks, isOpen: open !== undefined };
}
