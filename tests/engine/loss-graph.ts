/** Losses on plain numbers: datums and logprobs in, the loss, its gradient and its metrics out, in float64. */
import * as graph from "../../src/graph/index.js";
import { type Loss, numberAtAnswer, reducedMetric } from "../../src/losses/index.js";
import type { Datum, LossFnConfig } from "../../src/protocol/index.js";

export interface LossNumbers {
  readonly loss: number;
  /** By datum and token, of what the loss reads. */
  readonly gradient_D_T: readonly (readonly number[])[];
  readonly metrics: Readonly<Record<string, number>>;
}

/** The loss of datums whose tokens have these logprobs, or scores, as a graph with its numbers. */
export function lossGraph(
  loss: Loss,
  config: LossFnConfig,
  datums: readonly Datum[],
  readings_D_T: readonly (readonly number[])[],
) {
  const inputs_D = datums.map(({ lossFnInputs }) =>
    Object.fromEntries(
      loss.inputs.map((name) => {
        const answer_T = lossFnInputs["weights"]!.data;
        const given = lossFnInputs[name]?.data ?? answer_T.map(() => loss.optional[name]!);
        return [name, numberAtAnswer(loss, name, given, answer_T) ?? given];
      }),
    ),
  );
  const places = readings_D_T.flatMap((readings_T, datum) =>
    readings_T.flatMap((_, position) =>
      loss.supervisedBy.some((name) => inputs_D[datum]![name]![position] !== 0) ? [{ datum, position }] : [],
    ),
  );
  const shape = [places.length];
  const array = (at: (place: { readonly datum: number; readonly position: number }) => number) => ({
    shape,
    data: Float64Array.from(places, at),
  });
  const readings = graph.input("readings", shape);
  const given = {
    trainingLogprobs_S: readings,
    ...(loss.reads === "scores" ? { scores_S: readings } : {}),
    inputs: Object.fromEntries(loss.inputs.map((name) => [name, graph.input(name, shape)])),
    sequences_S: graph.input("sequences", shape, "int64"),
    entropy_S: null,
    config: { ...loss.defaults, ...config },
  };
  const total = graph.sumAll(loss.perToken(given));
  const metrics = Object.entries(loss.metrics?.(given) ?? {});
  return {
    places,
    outputs: {
      total,
      gradient: graph.gradient(total, [readings])[0]!,
      ...Object.fromEntries(metrics.map(([name, value]) => [`metric:${name}`, value])),
    },
    arrays: {
      readings: array(({ datum, position }) => readings_D_T[datum]![position]!),
      sequences: array(({ datum }) => datum),
      ...Object.fromEntries(
        loss.inputs.map((name) => [name, array(({ datum, position }) => inputs_D[datum]![name]![position]!)]),
      ),
    },
  };
}

/** The graph's results as a loss, its gradient and its metrics. */
export function lossNumbers(
  { places }: Pick<ReturnType<typeof lossGraph>, "places">,
  results: Readonly<Record<string, ArrayLike<number>>>,
  readings_D_T: readonly (readonly number[])[],
): LossNumbers {
  const gradient_D_T = readings_D_T.map((readings_T) => readings_T.map(() => 0));
  places.forEach(({ datum, position }, i) => {
    gradient_D_T[datum]![position] = results["gradient"]![i]!;
  });
  const byDatum = (values: ArrayLike<number>): number[][] =>
    readings_D_T
      .map((_, datum) => places.flatMap((place, i) => (place.datum === datum ? [values[i]!] : [])))
      .filter((values_T) => values_T.length > 0);
  return {
    loss: results["total"]![0]!,
    gradient_D_T,
    metrics: Object.fromEntries(
      Object.entries(results)
        .filter(([name]) => name.startsWith("metric:"))
        .map(([name, values]) => [name.slice(7), reducedMetric(name, byDatum(values))]),
    ),
  };
}

export function exactLoss(
  loss: Loss,
  config: LossFnConfig,
  datums: readonly Datum[],
  readings_D_T: readonly (readonly number[])[],
): LossNumbers {
  const built = lossGraph(loss, config, datums, readings_D_T);
  const results = graph.evaluate({ outputs: built.outputs }, built.arrays);
  return lossNumbers(
    built,
    Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data])),
    readings_D_T,
  );
}
