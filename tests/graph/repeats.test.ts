/** Scatters whose indices repeat, on as many threads as there are: no summand may be lost, and every run gives the same bits. */
import { expect, it } from "vitest";
import * as graph from "../../src/graph/index.js";
import { createRuntimes, runModel } from "./run-model.js";

const runtimes = await createRuntimes();
/** As long as a micro-batch, so that the work is worth sharing out among threads. */
const [UPDATES, WIDTH, ROWS, DIFFERENT, RUNS] = [2048, 256, 512, 7, 12];

it.each(runtimes)("adds every update of rows that repeat: $lowering", async ({ lowering, runtime }) => {
  const at = Float64Array.from({ length: UPDATES }, (_, i) => (i * i) % DIFFERENT);
  // Small whole numbers: their sums are exact in any order, so a difference is a lost or doubled summand.
  const x = Float64Array.from({ length: UPDATES * WIDTH }, (_, i) => ((i * 31) % 17) - 7);
  const inputs = {
    at: { dtype: "int64" as const, array: { shape: [UPDATES], data: at } },
    x: { dtype: "float32" as const, array: { shape: [UPDATES, WIDTH], data: x } },
  };
  const y = graph.scatterAddRows(
    graph.input("at", [UPDATES], "int64"),
    graph.input("x", [UPDATES, WIDTH]),
    ROWS,
  );
  const expected = graph.evaluate({ outputs: { y } }, { at: inputs.at.array, x: inputs.x.array })["y"]!.data;
  const model = graph.compile({ outputs: { y } }, { lowering });
  for (let run = 0; run < RUNS; run++) {
    const { y: sums } = await runModel(runtime, model, inputs);
    expect(expected.findIndex((sum, i) => sum !== sums![i])).toBe(-1);
  }
});
