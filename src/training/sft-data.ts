/** The rows of an SFT run: loaded, checked, split. Everything that can be wrong with data is said here, before step 0. */
import {
  checkDataset,
  type Dataset,
  type LoadDatasetOptions,
  loadDataset,
  previewRows,
  sharedPrompts,
  splitByPrompt,
  type TrainingRow,
} from "../datasets/index.js";
import type { ChatRenderer, Tokenizer } from "../text/index.js";
import { columnMappingOf, type SftConfig } from "./sft-config.js";

export interface SftData {
  readonly train: readonly TrainingRow[];
  readonly validation: readonly TrainingRow[];
  /** The training file as a whole, with its statistics. */
  readonly dataset: Dataset;
  readonly validationDataset?: Dataset;
  /** Sentences for the user; none stops the run. */
  readonly warnings: readonly string[];
  /** File → SHA-256 of its content, for the run's record. */
  readonly dataHashes: Readonly<Record<string, string>>;
}

export interface LoadSftDataOptions {
  readonly tokenizer: Tokenizer;
  /** Needed for conversations only. */
  readonly renderer?: ChatRenderer;
  /** Told now and then how many rows of a file are tokenised. */
  readonly onProgress?: (path: string, rows: number) => void;
}

/** @throws UserError with file and line for a bad row, with counts for bad data. */
export async function loadSftData(config: SftConfig, options: LoadSftDataOptions): Promise<SftData> {
  const { data } = config;
  const limits = { maxUnsupervisedFraction: data.maxUnsupervisedFraction, allowNoEos: data.allowNoEos };
  const dataset = await loadDataset(data.train, datasetOptions(config, options, data.train));
  const warnings = checkDataset(dataset, limits);
  const dataHashes: Record<string, string> = { [data.train]: dataset.contentHash };

  if (data.validation !== undefined) {
    const other = await loadDataset(data.validation, datasetOptions(config, options, data.validation));
    warnings.push(...checkDataset(other, limits));
    dataHashes[data.validation] = other.contentHash;
    const split = { train: dataset.rows, validation: other.rows };
    const shared = sharedPrompts(split);
    if (shared > 0) {
      warnings.push(
        `${shared} of ${other.rows.length} rows of ${data.validation} have a prompt that is trained on: the validation loss will flatter`,
      );
    }
    return { ...split, dataset, validationDataset: other, warnings, dataHashes };
  }
  if (data.validationFraction === 0) {
    return { train: dataset.rows, validation: [], dataset, warnings, dataHashes };
  }
  return {
    ...splitByPrompt(dataset.rows, data.validationFraction, config.seed),
    dataset,
    warnings,
    dataHashes,
  };
}

const PREVIEW_ROWS = 3;

/** The first three rows that are trained on, their trained tokens marked: shown before every run. */
export function previewSftData(
  { train }: Pick<SftData, "train">,
  tokenizer: Tokenizer,
  { colour = false }: { readonly colour?: boolean } = {},
): string {
  const rows = train.slice(0, PREVIEW_ROWS);
  const head = `The first ${rows.length} rows; the tokens with a loss are ${colour ? "green" : "in «…»"}:`;
  return `${head}\n\n${previewRows(rows, tokenizer, { colour })}`;
}

function datasetOptions(config: SftConfig, options: LoadSftDataOptions, path: string): LoadDatasetOptions {
  const { tokenizer, renderer, onProgress } = options;
  const { data, trainOn, maxLength, truncation } = config;
  return {
    tokenizer,
    ...(renderer === undefined ? {} : { renderer }),
    ...(onProgress === undefined ? {} : { onProgress: (rows: number) => onProgress(path, rows) }),
    mapping: columnMappingOf(config),
    trainOn,
    maxLength,
    truncation,
    addBos: data.addBos,
    addEos: data.addEos,
    ...(data.maxRows === undefined ? {} : { maxRows: data.maxRows }),
  };
}
