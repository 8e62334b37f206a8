/** One compiled graph, ready to run, and what makes one. The rest of the engine knows no runtime but these. */
import type { HostTensor } from "../../tensor/index.js";

export type NamedTensors = Readonly<Record<string, HostTensor>>;

export interface Session {
  /**
   * Runs the graph on the calling thread and writes every fetched output into `outputs[name].data`.
   * Only the outputs named are fetched. The caller knows their shapes: they follow from the inputs'.
   * An input and an output may share memory where the graph allows it.
   */
  run(inputs: NamedTensors, outputs: NamedTensors): Promise<void>;
  release(): void;
}

export interface SessionOptions {
  /** Threads of one operator. @default the number of cores */
  readonly threads?: number;
  /** Keeps duplicated subexpressions apart, without which recomputation for checkpointing is optimised away. */
  readonly keepDuplicates?: boolean;
  /**
   * Takes one block for all values of a run whose shapes were seen before, beside the memory that the first run took:
   * a few percent faster for small models, and twice the memory. @default false
   */
  readonly planMemory?: boolean;
  /**
   * Own kernels compute a row alike, to the last bit, whatever the number of rows beside it; and are fast for few rows or
   * for many. Stock operators do not know this. @default the fastest for each number of rows
   */
  readonly batchInvariant?: "few rows" | "many rows";
}

export interface Runtime {
  /** Which lowering the graphs must be emitted with. */
  readonly lowering: "primitives" | "cpu" | "native";
  createSession(model: Uint8Array, options?: SessionOptions): Promise<Session>;
}
