/** The parts of `@huggingface/tokenizers` and `@huggingface/jinja` that are used, with types. Nothing of ours. */
import * as untypedJinja from "@huggingface/jinja";
import * as untyped from "@huggingface/tokenizers";

interface LibraryModel {
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number;
  (words: readonly string[]): readonly string[];
}

interface LibraryNormalizer {
  normalize(text: string): string;
}

interface Library {
  readonly SplitPreTokenizer: new (config: {
    readonly type: "Split";
    readonly pattern: { readonly Regex: string };
    readonly behavior: "Isolated";
    readonly invert: boolean;
  }) => { readonly pattern: RegExp | null };
  readonly BertNormalizer: new (config: Readonly<Record<string, unknown>>) => LibraryNormalizer;
  readonly PrecompiledNormalizer: new (config: Readonly<Record<string, unknown>>) => LibraryNormalizer;
  readonly WordPiece: new (config: Readonly<Record<string, unknown>>) => LibraryModel;
  readonly Unigram: new (config: Readonly<Record<string, unknown>>, eosToken: string) => LibraryModel;
}

// Its declarations import each other without extensions, which NodeNext does not resolve; so they are stated here.
export const library = untyped as unknown as Library;

/** A node of a parsed template; its fields depend on its type. */
export interface TemplateNode {
  readonly type: string;
  [field: string]: unknown;
}

/** A scope of variables; names that it lacks are looked up in its parent. */
export interface TemplateEnvironment {
  set(name: string, value: unknown): unknown;
}

interface Jinja {
  tokenize(
    source: string,
    options?: { readonly lstrip_blocks?: boolean; readonly trim_blocks?: boolean },
  ): unknown;
  parse(tokens: unknown): TemplateNode;
  readonly Environment: new (parent?: TemplateEnvironment) => TemplateEnvironment;
  readonly Interpreter: new (
    environment: unknown,
  ) => { run(program: TemplateNode): { readonly value: unknown } };
}

// The same holds for the template library, whose syntax tree has no exported types either.
export const jinja = untypedJinja as unknown as Jinja;
