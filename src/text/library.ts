/** The parts of `@huggingface/tokenizers` that are used, with types. Nothing of ours. */
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
