/** The ledger's rules one by one, on templates of a line or two. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createChatRenderer } from "./chat-renderer.js";
import { CHATML_TEMPLATE } from "./chatml.js";
import { createTokenizer } from "./create-tokenizer.js";
import type { ChatMessage } from "./tokenizer.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const json: unknown = JSON.parse(readFileSync(join(golden, "small/tokenizer.json"), "utf8"));
const tokenizer = createTokenizer(json, { eos_token: "<|im_end|>" });
// A tokenizer that does not say which token ends a turn.
const silent = createTokenizer(json);

const TURN = "{{ '<|im_start|>' + m.role + '\\n' }}";
const PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const each = (body: string): string => `{% for m in messages %}${body}{% endfor %}${PROMPT}`;
const plain = each(`${TURN}{{ m.content + '<|im_end|>\\n' }}`);
const chat: ChatMessage[] = [
  { role: "user", content: "2+2?" },
  { role: "assistant", content: "It is 4" },
];

/** `[source, text]` of every span but the prompt's. */
function ledger(template: string, messages = chat, used = tokenizer): [string, string][] {
  const { tokens_T, spans } = createChatRenderer({ template, tokenizer: used }).render(messages);
  return spans
    .filter(({ source }) => source !== "prompt")
    .map(({ source, start, end }) => [source, used.decode(tokens_T.slice(start, end))]);
}

describe("render()", () => {
  it("counts the content and the end-of-turn token as sampled", () => {
    expect(ledger(plain)).toEqual([["sampled", "It is 4<|im_end|>"]]);
    expect(ledger(plain, chat, silent)).toEqual([["sampled", "It is 4<|im_end|>"]]);
  });

  it("never takes a token that opens a turn for one that ends it", () => {
    const open = each(`${TURN}{{ m.content }}`);
    const turns = [...chat, { role: "user", content: "sure?" }, { role: "assistant", content: "yes" }];
    expect(ledger(open, turns, silent)).toEqual([
      ["sampled", "It is 4"],
      ["sampled", "yes"],
    ]);
  });

  it("adds the end-of-turn token to generation blocks that leave it out", () => {
    const block = each(
      `${TURN}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}`,
    );
    expect(ledger(block)).toEqual([["sampled", "It is 4<|im_end|>"]]);
  });

  it("marks text that the template puts into a turn as forced", () => {
    const think = each(
      `${TURN}{% if m.role == 'assistant' %}{{ '<think></think>' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}`,
    );
    expect(ledger(think)).toEqual([
      ["forced", "<think></think>"],
      ["sampled", "It is 4<|im_end|>"],
    ]);
  });

  it("leaves a token that straddles the border to the prompt", () => {
    // The "\n" of the prompt and the first "\n" of the content are one token.
    const encoded = tokenizer.encode("assistant\n\n\nx");
    expect(encoded.map((id) => tokenizer.tokenString(id))).toContain("ĊĊ");
    const messages = [chat[0]!, { role: "assistant", content: "\n\nx" }];
    expect(ledger(plain, messages)).toEqual([["sampled", "\nx<|im_end|>"]]);
  });

  it("marks what a tool wrote", () => {
    const messages = [...chat, { role: "tool", content: "7 °C" }, { role: "assistant", content: "7" }];
    expect(ledger(plain, messages)).toContainEqual(["tool", "7 °C"]);
  });

  it.each([
    [
      "upper case",
      each(`${TURN}{{ m.content | upper + '<|im_end|>\\n' }}`),
      "the template rewrites or drops its content",
    ],
    [
      "dropped",
      each(`{% if m.role == 'user' %}${TURN}{{ m.content }}{% endif %}`),
      "the template rewrites or drops its content",
    ],
    [
      "twice",
      each(`${TURN}{{ m.content + m.content + '<|im_end|>\\n' }}`),
      "the template rewrites or drops its content",
    ],
  ])("never guesses: content %s", (_, template, why) => {
    expect(() => ledger(template)).toThrow(
      `Cannot say which tokens the assistant wrote: message 1 (assistant, "It is 4"): ${why}, expected its text verbatim in the rendering`,
    );
  });

  it("refuses content that JSON would escape", () => {
    const template = each(`${TURN}{{ m.content | tojson + '<|im_end|>\\n' }}`);
    const messages = [chat[0]!, { role: "assistant", content: 'a "b"\nc' }];
    expect(() => ledger(template, messages)).toThrow("the template rewrites or drops its content");
  });

  it("keeps the template's own refusal and faults apart from ours", () => {
    expect(() => ledger("{{ raise_exception('no system, please') }}")).toThrow(
      'Cannot render chat: the template template refuses it with "no system, please", expected messages that it accepts',
    );
    expect(() => ledger("{% for m in messages %}")).toThrow("Cannot read chat template template: ");
    expect(() => ledger(plain, [{ role: "user", content: 3 as never }])).toThrow(
      "Cannot render chat: content of message 0 (user) is the number 3, expected a string or null",
    );
    expect(() => ledger(plain, [])).toThrow("Cannot render chat: it has no messages, expected at least one");
  });

  it("needs a template to be named when a directory has none", () => {
    const directory = join(golden, "small");
    expect(() => createChatRenderer(directory)).toThrow(
      `Cannot render chat: ${directory} has no chat_template.jinja and "chat_template" of tokenizer_config.json is missing, expected a template. Add chat_template.jinja, or make the tokenizer with one: hone tokenizer train --chat`,
    );
  });

  it("takes the template for tools when there are tools", () => {
    const renderer = createChatRenderer({ template: { default: "plain", tool_use: "tools" }, tokenizer });
    expect(renderer.renderText(chat)).toBe("plain");
    expect(renderer.renderText(chat, { tools: [] })).toBe("tools");
  });

  it("gives back the assistant's words, whatever they are", () => {
    const words = fc.string({
      unit: fc.constantFrom(
        "a",
        " the",
        "é",
        "漢",
        "😀",
        "\u{F0000}",
        "\u{F0001}",
        "{{",
        "%}",
        "<|im_start|>",
        "12",
        "\t",
      ),
      minLength: 1,
      maxLength: 12,
    });
    for (const template of [plain, CHATML_TEMPLATE]) {
      const renderer = createChatRenderer({ template, tokenizer });
      fc.assert(
        fc.property(words, words, words, (question, answer, second) => {
          const messages = [
            { role: "user", content: question },
            { role: "assistant", content: `x${answer}x` },
            { role: "user", content: question },
            { role: "assistant", content: `x${second}x` },
          ];
          const { tokens_T, spans } = renderer.render(messages);
          expect(tokens_T).toEqual(tokenizer.encode(renderer.renderText(messages)));
          const sampled = spans.filter(({ source }) => source === "sampled");
          expect(sampled.map(({ start, end }) => tokenizer.decode(tokens_T.slice(start, end)))).toEqual([
            `x${answer}x<|im_end|>`,
            `x${second}x<|im_end|>`,
          ]);
        }),
        { seed: 7, numRuns: 100 },
      );
    }
  });
});
