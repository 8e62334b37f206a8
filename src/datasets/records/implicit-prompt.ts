/**
 * The prompt of a pair that has none of its own: what both answers begin with.
 *
 * TRL's `extract_prompt` cuts texts at the first character that differs; ours goes back to the last place where a word
 * ends, because half a word ("bl" of "blue" and "black") is no prompt and makes tokens that no model was asked with.
 */
import type { ChatMessage } from "../../text/index.js";

/** The parts of a pair, or why its prompt cannot be told. */
export type Division<Side> =
  | { readonly prompt: Side; readonly chosen: Side; readonly rejected: Side }
  | { readonly refused: string };

/** The common messages at the start of both conversations; a turn that both give alike belongs to the prompt. */
export function divideConversations(
  chosen: readonly ChatMessage[],
  rejected: readonly ChatMessage[],
): Division<readonly ChatMessage[]> {
  const shortest = Math.min(chosen.length, rejected.length);
  let length = 0;
  while (length < shortest && isEqual(chosen[length], rejected[length])) length++;
  if (length === chosen.length && length === rejected.length) {
    // Identical conversations still have an answer: what follows the last turn that is not the assistant's.
    length = chosen.findLastIndex(({ role }) => role !== "assistant") + 1;
  }
  if (length === 0)
    return { refused: "chosen and rejected begin with different messages, expected the same prompt in both" };
  if (length === chosen.length || length === rejected.length) {
    const side = length === chosen.length ? "chosen" : "rejected";
    return {
      refused: `${side} ends where the other goes on (after ${length} messages), expected an answer of its own`,
    };
  }
  return {
    prompt: chosen.slice(0, length),
    chosen: chosen.slice(length),
    rejected: rejected.slice(length),
  };
}

/** The common beginning of both texts up to the end of a word; the space after it belongs to the answers. */
export function divideTexts(chosen: string, rejected: string): Division<string> {
  if (chosen === rejected)
    return { refused: "chosen and rejected are the same text, so nothing says where the prompt ends" };
  const shortest = Math.min(chosen.length, rejected.length);
  let length = 0;
  while (length < shortest && chosen[length] === rejected[length]) length++;
  const inWord = (text: string): boolean => INSIDE_WORD.test(text.slice(length - 1, length + 3));
  while (length > 0 && (inWord(chosen) || inWord(rejected) || isLowSurrogate(chosen, length))) length--;
  while (length > 0 && chosen[length - 1] === " ") length--;
  if (length === 0)
    return { refused: "chosen and rejected begin with different words, expected the same prompt in both" };
  return {
    prompt: chosen.slice(0, length),
    chosen: chosen.slice(length),
    rejected: rejected.slice(length),
  };
}

/** Two letters of one word. Scripts without spaces have no word to cut. */
const INSIDE_WORD =
  /^(?:(?!\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Thai})[\p{L}\p{N}\p{M}_']){2}/u;

/** Whether a cut before unit `at` would fall inside a character. */
function isLowSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

function isEqual(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

/** JSON with sorted keys, nulls left out: one file may write `"tool_calls": null` where another writes nothing. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(
      Object.entries(item)
        .filter(([, inner]) => inner !== null && inner !== undefined)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  });
}
