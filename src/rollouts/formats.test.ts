/** Prompts as tokens: what a policy continues, and that a later turn begins with every token of the earlier ones. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RolloutError, UserError } from "../base/index.js";
import {
  CHATML_TEMPLATE,
  type ChatMessage,
  createChatRenderer,
  createTokenizer,
  type RenderedChat,
} from "../text/index.js";
import { createChatFormat } from "./chat-format.js";
import { createPlainFormat } from "./plain-format.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const json: unknown = JSON.parse(readFileSync(join(golden, "small/tokenizer.json"), "utf8"));
const tokenizer = createTokenizer(json, { eos_token: "<|im_end|>" });
const eos = tokenizer.eosId!;
const question: readonly ChatMessage[] = [
  { role: "system", content: "You count." },
  { role: "user", content: "2+2?" },
];
const again: readonly ChatMessage[] = [{ role: "user", content: "sure?" }];

const chatFormat = (template = CHATML_TEMPLATE) =>
  createChatFormat(createChatRenderer({ template, tokenizer }), tokenizer);
/** `[source, text]` of every span. */
const ledger = ({ tokens_T, spans }: RenderedChat) =>
  spans.map(({ source, start, end }) => [source, tokenizer.decode(tokens_T.slice(start, end))]);
const completionOf = (text: string, ...end: readonly number[]) => ({
  text,
  tokens_T: [...tokenizer.encode(text), ...end],
});

describe("createPlainFormat()", () => {
  it("opens with the contents and the separator, and stops at EOS", () => {
    const format = createPlainFormat(tokenizer, { separator: " =>" });
    expect(format.stop).toEqual([eos]);
    expect(ledger(format.open(question))).toEqual([["prompt", "You count.\n2+2? =>"]]);
    expect(format.open(question).tokens_T).toEqual(tokenizer.encode("You count.\n2+2? =>"));
  });

  it("gives a completion's text without the token that ended it", () => {
    const format = createPlainFormat(tokenizer);
    expect(format.textOf([...tokenizer.encode(" it is 4"), eos])).toBe(" it is 4");
    expect(format.textOf(tokenizer.encode(" it is"))).toBe(" it is");
  });

  it("follows a completion by the observation, and ends one that was cut off", () => {
    const format = createPlainFormat(tokenizer, { separator: "=" });
    const turn = { messages: question, observation: again };
    expect(ledger(format.follow({ ...turn, completion: completionOf("4", eos) }))).toEqual([
      ["prompt", "sure?="],
    ]);
    expect(ledger(format.follow({ ...turn, completion: completionOf("4") }))).toEqual([
      ["forced", "<|im_end|>"],
      ["prompt", "sure?="],
    ]);
    const told = [{ role: "tool", content: "7" }];
    const told4 = { messages: question, observation: told, completion: completionOf("4", eos) };
    expect(ledger(format.follow(told4))).toEqual([["tool", "7="]]);
  });

  it("puts BOS where the tokenizer does, or as told", () => {
    const silent = createTokenizer(json, { eos_token: "<|im_end|>", bos_token: "<|im_start|>" });
    const bos = silent.bosId!;
    expect(createPlainFormat(silent).open(again).tokens_T).toEqual(silent.encode("sure?"));
    expect(createPlainFormat(silent, { addBos: true }).open(again).tokens_T).toEqual([
      bos,
      ...silent.encode("sure?"),
    ]);
    expect(() => createPlainFormat(tokenizer, { addBos: true })).toThrow(UserError);
  });

  it("refuses a tokenizer without EOS", () => {
    expect(() => createPlainFormat(createTokenizer(json))).toThrow(
      "Cannot format prompts: the tokenizer names no eos_token, expected one that ends a completion. Name it in tokenizer_config.json",
    );
  });
});

describe("createChatFormat()", () => {
  it("opens with the generation prompt and stops at the end of the turn", () => {
    const format = chatFormat();
    expect(format.stop).toEqual([eos]);
    expect(ledger(format.open(question))).toEqual([
      [
        "prompt",
        "<|im_start|>system\nYou count.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
      ],
    ]);
  });

  it("stops at the template's end of turn even where the tokenizer does not name it", () => {
    const silent = createTokenizer(json);
    const renderer = createChatRenderer({ template: CHATML_TEMPLATE, tokenizer: silent });
    expect(createChatFormat(renderer, silent).stop).toEqual([eos]);
  });

  it("takes the policy's words in an example conversation for a prompt", () => {
    const shots = [...question, { role: "assistant", content: "4" }, ...again];
    expect(
      chatFormat()
        .open(shots)
        .spans.map(({ source }) => source),
    ).toEqual(
      chatFormat()
        .open(shots)
        .spans.map(() => "prompt"),
    );
  });

  it("follows a completion by what the template puts between turns", () => {
    const follow = chatFormat().follow({
      messages: question,
      completion: completionOf("4", eos),
      observation: again,
    });
    expect(ledger(follow)).toEqual([
      ["prompt", "\n<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n"],
    ]);
  });

  it("ends a turn that was cut off itself", () => {
    const follow = chatFormat().follow({
      messages: question,
      completion: completionOf("4"),
      observation: again,
    });
    expect(ledger(follow)[0]).toEqual(["forced", "<|im_end|>"]);
    expect(tokenizer.decode(follow.tokens_T)).toBe(
      "<|im_end|>\n<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n",
    );
  });

  it("marks what a tool says", () => {
    const observation = [{ role: "tool", content: "7 °C" }];
    const follow = chatFormat().follow({
      messages: question,
      completion: completionOf("4", eos),
      observation,
    });
    expect(ledger(follow)).toContainEqual(["tool", "7 °C"]);
  });

  it("goes on from any words, so that text and tokens stay those of the conversation", () => {
    const words = fc.string({
      unit: fc.constantFrom("a", " the", "é", "漢", "😀", "{{", "%}", "<|im_start|>", "\n", "\t", "12"),
      maxLength: 8,
    });
    const format = chatFormat();
    fc.assert(
      fc.property(words, words, (first, second) => {
        let messages = question;
        let tokens_T = format.open(messages).tokens_T;
        for (const text of [first, second]) {
          const completion = completionOf(text, eos);
          const follow = format.follow({ messages, completion, observation: again });
          tokens_T = [...tokens_T, ...completion.tokens_T, ...follow.tokens_T];
          messages = [...messages, { role: "assistant", content: text }, ...again];
        }
        const renderer = createChatRenderer({ template: CHATML_TEMPLATE, tokenizer });
        expect(tokenizer.decode(tokens_T)).toBe(renderer.renderText(messages, { addGenerationPrompt: true }));
      }),
      { seed: 11, numRuns: 60 },
    );
  });

  it("refuses to go on where the template rewrites what was said", () => {
    // As templates of reasoning models do: of earlier turns only what follows the reasoning stays.
    const forgetful = CHATML_TEMPLATE.replace(
      "message['content'] + '<|im_end|>' -}}{%- endgen",
      "message['content'].split('</think>')[-1] + '<|im_end|>' -}}{%- endgen",
    );
    const format = chatFormat(forgetful);
    const turn = { messages: question, observation: again };
    expect(format.follow({ ...turn, completion: completionOf("4", eos) }).tokens_T.length).toBeGreaterThan(0);
    const thought = { ...turn, completion: completionOf("<think>2 and 2</think>4", eos) };
    expect(() => format.follow(thought)).toThrow(RolloutError);
    expect(() => format.follow(thought)).toThrow(
      "Cannot go on with the conversation: the chat template rewrites what was said before, expected it word for word. Train on episodes of one turn, or use a template that keeps earlier turns (and their reasoning) as they were",
    );
  });
});
