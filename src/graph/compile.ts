/** From a graph to a model that one provider can run: the passes in their order. */
import type { Graph, Lowering } from "./graph.js";
import { emitOnnx, type OnnxModel } from "./onnx/emit.js";
import { commonSubgraphs } from "./passes/common-subgraphs.js";
import { decompose } from "./passes/decompose.js";
import { fuseLogprobs } from "./passes/fuse-logprobs.js";
import { fuseSummands } from "./passes/fuse-summands.js";
import { recompute } from "./passes/recompute.js";
import { shareOperands } from "./passes/share-operands.js";

export interface CompileOptions {
  readonly lowering: Lowering;
  /** Names of the forward pass's outputs; given, the backward pass recomputes what lies between `checkpoint` marks. */
  readonly recomputeBehind?: readonly string[];
}

/** Every rewrite of a graph that holds a forward and a backward pass, short of emission. */
export function optimise(graph: Graph, { lowering, recomputeBehind }: CompileOptions): Graph {
  const lowered = decompose(fuseLogprobs(graph), lowering);
  const merged = commonSubgraphs(lowered);
  const fused = fuseSummands(recomputeBehind === undefined ? merged : recompute(merged, recomputeBehind));
  return lowering === "native" ? shareOperands(fused) : fused;
}

export function compile(graph: Graph, options: CompileOptions): OnnxModel {
  return emitOnnx(optimise(graph, options), options.lowering);
}
