import { expect, it } from "vitest";
import { type BenchReport, reportJson, reportTable } from "./report.js";

const REPORT: BenchReport = {
  bench: "train",
  machine: "2 cores",
  results: [
    {
      ...{ name: "tiny", seconds: 0.14, peer: "torch 2.13.0+cpu", peerSeconds: 0.28, ratio: 2 },
      ...{ spread: [0.13, 0.15], peerSpread: [0.27, 1.2], foreignCores: 0.1 },
    },
    { name: "matmul", seconds: 1 / 3, peer: null, peerSeconds: null, ratio: null, perSecond: 312.5e9 },
    { name: "qwen", seconds: 12, peer: null, peerSeconds: null, ratio: null, peakBytes: 3.2e9 },
  ],
};

it("prints aligned columns and leaves out what was not measured", () => {
  expect(reportTable(REPORT)).toBe(
    [
      "train on 2 cores",
      "name    ours      p10–p90            peer              peer time  p10–p90          ratio  rate       peak     others",
      "tiny    140.0 ms  130.0 ms–150.0 ms  torch 2.13.0+cpu  280.0 ms   270.0 ms–1.20 s  2.00                       0.10 cores",
      "matmul  333.3 ms                                                                          312.5 G/s",
      "qwen    12.00 s                                                                                      3.20 GB",
    ].join("\n"),
  );
});

it("prints one line of JSON with the agreed names", () => {
  const line = reportJson(REPORT);
  expect(line).not.toContain("\n");
  const { bench, machine, results } = JSON.parse(line) as BenchReport;
  expect([bench, machine]).toEqual(["train", "2 cores"]);
  expect(results[1]).toEqual({
    ...{ name: "matmul", seconds: 0.333333, peer: null, peerSeconds: null, ratio: null, perSecond: 312.5e9 },
  });
});
