/** A chat template: messages to text, exactly as transformers renders it. Strings only; knows nothing about tokens. */
import { messageOf, UserError } from "../base/index.js";
import { jinja, type TemplateEnvironment } from "./library.js";
import {
  entriesOf,
  itemsOf,
  pythonCapitalize,
  pythonEqual,
  pythonJson,
  pythonStrip,
  pythonText,
  type StripSide,
  type TemplateValue,
} from "./python-values.js";
import { pythonStrftime } from "./strftime.js";
import {
  GENERATION_END,
  GENERATION_START,
  hasGenerationBlocks,
  parseTemplate,
  type RewrittenCall,
} from "./template-rewrite.js";
import type { ChatMessage, RenderOptions } from "./tokenizer.js";

export interface ChatTemplate {
  readonly hasGenerationBlocks: boolean;
  /** `marks` are printed where generation blocks begin and end. */
  render(messages: readonly ChatMessage[], options?: TemplateOptions): string;
}

export interface TemplateOptions extends RenderOptions {
  readonly marks?: { readonly start: string; readonly end: string };
}

export interface ChatTemplateOptions {
  /** `bos_token`, `eos_token`… as the template reads them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** The clock of `strftime_now`. */
  readonly now: () => Date;
  /** What messages call the template: its file. */
  readonly where: string;
}

/** @throws UserError when the template's syntax is wrong or beyond the library */
export function createChatTemplate(
  source: string,
  { specialTokens, now, where }: ChatTemplateOptions,
): ChatTemplate {
  let program: ReturnType<typeof parseTemplate>;
  try {
    program = parseTemplate(source);
  } catch (error) {
    throw new UserError(
      `Cannot read chat template ${where}: ${messageOf(error)}, expected Jinja as transformers renders it`,
      { cause: error },
    );
  }
  // What never changes is converted to the interpreter's values once.
  const globals = new jinja.Environment();
  declare(globals, { ...constants, ...functions(now), ...specialTokens, documents: null });
  return {
    hasGenerationBlocks: hasGenerationBlocks(source),
    render(messages, { addGenerationPrompt = false, tools, marks } = {}) {
      try {
        const environment = new jinja.Environment(globals);
        declare(environment, {
          messages,
          tools: tools ?? null,
          add_generation_prompt: addGenerationPrompt,
          [GENERATION_START]: marks?.start ?? "",
          [GENERATION_END]: marks?.end ?? "",
        });
        return String(new jinja.Interpreter(environment).run(program).value);
      } catch (error) {
        if (error instanceof RefusedByTemplate) {
          throw new UserError(
            `Cannot render chat: the template ${where} refuses it with ${JSON.stringify(error.message)}, expected messages that it accepts`,
          );
        }
        throw new UserError(
          `Cannot render chat: the template ${where} fails (${messageOf(error)}), expected messages that it can render`,
          { cause: error },
        );
      }
    },
  };
}

function declare(environment: TemplateEnvironment, variables: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(variables)) environment.set(name, value);
}

/** Thrown by the template's own `raise_exception`. */
class RefusedByTemplate extends Error {
  override name = "RefusedByTemplate";
}

const constants = { true: true, false: false, none: null, True: true, False: false, None: null };

type TemplateFunction = (
  values: readonly TemplateValue[],
  keywords?: ReadonlyMap<string, TemplateValue>,
) => unknown;

function functions(now: () => Date): Record<string, unknown> {
  const rewritten: Record<RewrittenCall, TemplateFunction> = {
    hone_text: ([value]) => pythonText(value!),
    hone_concat: ([left, right]) => pythonText(left!) + pythonText(right!),
    hone_equal: ([left, right]) => pythonEqual(left!, right!),
    hone_differ: ([left, right]) => !pythonEqual(left!, right!),
    hone_strip: (values, keywords) => strip("both", values, keywords),
    hone_lstrip: (values, keywords) => strip("left", values, keywords),
    hone_rstrip: (values, keywords) => strip("right", values, keywords),
    hone_tojson: tojson,
    hone_length: ([value]) => lengthOf(value!),
    hone_capitalize: ([value]) => pythonCapitalize(pythonText(value!)),
    hone_title: ([value]) => pythonText(value!).replace(/\p{L}+/gu, pythonCapitalize),
    hone_join: ([value, separator], keywords) => {
      if (keywords?.has("attribute")) throw new Error("join(attribute=…) is not supported");
      const between = separator ?? keywords?.get("d");
      const items =
        typeof value!.value === "string" ? Array.from(value!.value) : itemsOf(value!).map(pythonText);
      return items.join(between === undefined ? "" : pythonText(between));
    },
    hone_iterable: ([value]) => isIterable(value!),
    hone_not_iterable: ([value]) => !isIterable(value!),
  };
  return {
    ...rewritten,
    range: pythonRange,
    raise_exception: (message: unknown) => {
      throw new RefusedByTemplate(String(message));
    },
    strftime_now: (format: unknown) => pythonStrftime(now(), String(format)),
  };
}

function strip(
  side: StripSide,
  [value, chars]: readonly TemplateValue[],
  keywords?: ReadonlyMap<string, TemplateValue>,
): string {
  const given = chars ?? keywords?.get("chars");
  if (value!.type === "UndefinedValue") throw new Error("an undefined value cannot be stripped");
  return pythonStrip(pythonText(value!), side, given?.type === "StringValue" ? pythonText(given) : undefined);
}

const tojson: TemplateFunction = ([value, ...positional], keywords) => {
  const names = ["ensure_ascii", "indent", "separators", "sort_keys"];
  const given = (name: string): TemplateValue | undefined => {
    const option = positional[names.indexOf(name)] ?? keywords?.get(name);
    return option?.type === "NullValue" ? undefined : option;
  };
  const indent = given("indent");
  const separators = given("separators");
  const [item, key] = separators === undefined ? [] : itemsOf(separators).map(pythonText);
  return pythonJson(value!, {
    ensureAscii: given("ensure_ascii")?.value === true,
    indent:
      indent === undefined
        ? undefined
        : indent.type === "StringValue"
          ? pythonText(indent)
          : " ".repeat(Number(indent.value)),
    separators: item === undefined || key === undefined ? undefined : [item, key],
    sortKeys: given("sort_keys")?.value === true,
  });
};

function lengthOf(value: TemplateValue): number {
  if (typeof value.value === "string") return Array.from(value.value).length;
  if (Array.isArray(value.value)) return value.value.length;
  if (value.value instanceof Map) return entriesOf(value).length;
  if (value.type === "UndefinedValue") return 0;
  throw new Error(`a ${value.type} has no length`);
}

function isIterable(value: TemplateValue): boolean {
  return (
    typeof value.value === "string" ||
    Array.isArray(value.value) ||
    value.value instanceof Map ||
    value.type === "UndefinedValue"
  );
}

function pythonRange(first: number, last?: number, step = 1): number[] {
  const [start, stop] = last === undefined ? [0, first] : [first, last];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  return Array.from({ length }, (_, i) => start + i * step);
}
