/** Chat templates against transformers' apply_chat_template (tools/golden/text_chats.py), and the span ledger. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { createChatRenderer, type TemplateRenderer } from "./chat-renderer.js";
import { CHATML_TEMPLATE } from "./chatml.js";
import { createTokenizer } from "./create-tokenizer.js";
import type { ChatMessage, RenderedChat, TextTokenizer } from "./tokenizer.js";
import { loadTokenizer } from "./tokenizer-files.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const data = process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data");

interface Golden {
  readonly chat: string;
  readonly prompt: boolean;
  readonly error?: string;
  readonly text?: string;
  readonly ids?: string;
  readonly count?: number;
  readonly mask?: readonly number[];
}

// Our own script writes the file; the type says what it writes.
const chats = JSON.parse(readFileSync(join(golden, "chats.json"), "utf8")) as {
  readonly now: string;
  readonly tools: readonly unknown[];
  readonly withTools: readonly string[];
  readonly chats: Readonly<Record<string, ChatMessage[]>>;
  readonly templates: Readonly<Record<string, { added: string[]; bos_token?: string; eos_token: string }>>;
  readonly goldens: Readonly<Record<string, Golden[]>>;
};

function smallTokenizer(name: string): TextTokenizer {
  const { added, ...special } = chats.templates[name]!;
  const json = JSON.parse(readFileSync(join(golden, "small/tokenizer.json"), "utf8")) as {
    added_tokens: unknown[];
  };
  added.forEach((content, i) => {
    json.added_tokens.push({ id: 1000 + i, content, special: true, normalized: false });
  });
  return createTokenizer(json, special);
}

interface Loaded {
  readonly renderer: TemplateRenderer;
  readonly tokenizer: TextTokenizer;
}

/** The real tokenizers take a while to load, so each is loaded once. */
const loaded = new Map<string, Loaded>();

function rendererOf(name: string): Loaded {
  const found = loaded.get(name) ?? load(name);
  loaded.set(name, found);
  return found;
}

function load(name: string): Loaded {
  const now = () => new Date(chats.now);
  if (chats.templates[name] === undefined) {
    const directory = join(data, "tokenizers", name);
    const tokenizer = loadTokenizer(directory);
    return { renderer: createChatRenderer(directory, { tokenizer, now }), tokenizer };
  }
  const tokenizer = smallTokenizer(name);
  const template =
    name === "CHATML_TEMPLATE"
      ? CHATML_TEMPLATE
      : readFileSync(join(golden, `templates/${name}.jinja`), "utf8");
  return { renderer: createChatRenderer({ template, tokenizer, now }), tokenizer };
}

const optionsOf = ({ chat, prompt }: Golden) => ({
  addGenerationPrompt: prompt,
  ...(chats.withTools.includes(chat) ? { tools: chats.tools } : {}),
});

/** The rendering in pieces: `[source, text]`. */
function pieces(rendered: RenderedChat, tokenizer: TextTokenizer): [string, string][] {
  return rendered.spans.map(({ source, start, end }) => [
    source,
    tokenizer.decode(rendered.tokens_T.slice(start, end)),
  ]);
}

function sampledRuns({ tokens_T, spans }: RenderedChat): number[] {
  const runs = [0];
  let value = false;
  for (let t = 0; t < tokens_T.length; t++) {
    const isSampled = spans.some(({ source, start, end }) => source === "sampled" && start <= t && t < end);
    if (isSampled !== value) runs.push(0);
    value = isSampled;
    runs[runs.length - 1]!++;
  }
  return runs;
}

describe("createChatRenderer() renders what apply_chat_template renders", () => {
  for (const [name, goldens] of Object.entries(chats.goldens)) {
    const isAbsent = chats.templates[name] === undefined && !existsSync(join(data, "tokenizers", name));
    it.skipIf(isAbsent)(
      `with the template ${name}${isAbsent ? ` (skipped: ${join(data, "tokenizers", name)} is absent)` : ""}`,
      () => {
        const { renderer, tokenizer } = rendererOf(name);
        for (const expected of goldens) {
          const messages = chats.chats[expected.chat]!;
          if (expected.error !== undefined) {
            expect(() => renderer.renderText(messages, optionsOf(expected))).toThrow(UserError);
            continue;
          }
          const text = renderer.renderText(messages, optionsOf(expected));
          expect([expected.chat, text]).toEqual([expected.chat, expected.text]);
          const tokens = tokenizer.encode(text);
          expect(tokens.length).toBe(expected.count);
          expect(createHash("sha256").update(tokens.join(",")).digest("hex").slice(0, 8)).toBe(expected.ids);
          expect(tokenizer.encodeWithOffsets(text).tokens_T).toEqual(tokens);
        }
      },
    );
  }
});

describe("render() keeps a ledger of who wrote what", () => {
  for (const [name, goldens] of Object.entries(chats.goldens)) {
    if (name === "quirks") continue;
    const isAbsent = chats.templates[name] === undefined && !existsSync(join(data, "tokenizers", name));
    it.skipIf(isAbsent)(
      `whose tokens are the rendering's, or says why not, with ${name}${isAbsent ? " (skipped: shared data is absent)" : ""}`,
      () => {
        const { renderer, tokenizer } = rendererOf(name);
        const report: Record<string, unknown> = {};
        for (const expected of goldens) {
          if (expected.error !== undefined) continue;
          const messages = chats.chats[expected.chat]!;
          let rendered: RenderedChat;
          try {
            rendered = renderer.render(messages, optionsOf(expected));
          } catch (error) {
            if (!(error instanceof UserError)) throw error;
            if (!expected.prompt) report[expected.chat] = error.message;
            continue;
          }
          expect(rendered.tokens_T).toEqual(tokenizer.encode(expected.text!));
          expect(rendered.spans[0]!.start).toBe(0);
          expect(rendered.spans.at(-1)!.end).toBe(rendered.tokens_T.length);
          rendered.spans.slice(1).forEach((span, i) => {
            expect(span.start).toBe(rendered.spans[i]!.end);
            expect(span.source).not.toBe(rendered.spans[i]!.source);
          });
          if (!expected.prompt) {
            report[expected.chat] = pieces(rendered, tokenizer).filter(([source]) => source !== "prompt");
          }
        }
        expect(report).toMatchSnapshot();
      },
    );
  }

  it("gives the mask that transformers gives for generation blocks", () => {
    for (const name of ["generation", "CHATML_TEMPLATE"]) {
      const { renderer } = rendererOf(name);
      for (const expected of chats.goldens[name]!.filter(({ mask }) => mask !== undefined)) {
        const rendered = tryRender(renderer, chats.chats[expected.chat]!, expected);
        // Tool calls and reasoning that these templates do not render are refused, not masked.
        // Line breaks at the edge straddle the border: transformers counts that token as the assistant's, we do not.
        if (expected.chat === "edges of white space") continue;
        if (rendered !== undefined)
          expect([expected.chat, sampledRuns(rendered)]).toEqual([expected.chat, expected.mask]);
      }
    }
  });
});

function tryRender(renderer: TemplateRenderer, messages: readonly ChatMessage[], expected: Golden) {
  try {
    return renderer.render(messages, optionsOf(expected));
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
