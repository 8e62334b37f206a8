/**
 * How an episode's messages become tokens for a policy to continue. Tokens that were sampled are never tokenised
 * again: a format only says what stands before the first completion and what follows each one.
 */
import type { ChatMessage, RenderedChat } from "../text/index.js";

/** What was said so far, when a completion is to be followed by an observation. */
export interface FollowedTurn {
  /** All messages before the completion; the policy's own have the role "assistant". */
  readonly messages: readonly ChatMessage[];
  readonly completion: { readonly text: string; readonly tokens_T: readonly number[] };
  /** The new messages. */
  readonly observation: readonly ChatMessage[];
}

export interface PromptFormat {
  /** Token ids that end a completion. */
  readonly stop: readonly number[];
  /** The tokens before the first completion; none of them is `sampled`. */
  open(messages: readonly ChatMessage[]): RenderedChat;
  /**
   * The tokens from the end of a completion to where the next one begins: `prompt`, `tool` and `forced` spans.
   *
   * @throws RolloutError when the tokens so far are no beginning of the longer conversation.
   */
  follow(turn: FollowedTurn): RenderedChat;
  /** A completion's text, without the token that ended it. */
  textOf(tokens_T: readonly number[]): string;
}
