/**
 * Any loss on an engine that knows only `cross_entropy`, whose gradient is minus its weights: a forward pass gives the
 * logprobs, the loss's graph alone gives d loss / d logprobs, and these go back as weights. The same definition as in
 * the fused form, so there is nothing to keep in step.
 */
import { UserError } from "../base/index.js";
import { evaluate, gradient, input, nodesOf, sumAll } from "../graph/index.js";
import type {
  Datum,
  ForwardBackwardOutput,
  LossFnConfig,
  LossFnName,
  LossOptions,
  TensorData,
  TrainingClient,
} from "../protocol/index.js";
import { datumTitle, expectWholeExamples, numberAtAnswer } from "./coupled-datums.js";
import type { Loss } from "./loss.js";
import { reducedMetric } from "./metric-reductions.js";
import { readLoss } from "./read-loss.js";

/** The two calls that are needed of an engine. */
export type TwoPassEngine = Pick<TrainingClient, "forward" | "forwardBackward">;

/** A client like `client` that also knows the losses of `lossFns`, in two passes. */
export function twoPassClient(client: TrainingClient, lossFns: readonly LossFnName[]): TrainingClient {
  return {
    forward: (...given) => client.forward(...given),
    forwardBackward: (data, lossFn, options) =>
      lossFns.includes(lossFn)
        ? forwardBackwardInTwoPasses(client, data, lossFn, options)
        : client.forwardBackward(data, lossFn, options),
    optimStep: (...given) => client.optimStep(...given),
    saveState: (...given) => client.saveState(...given),
    loadState: (...given) => client.loadState(...given),
    saveWeights: (...given) => client.saveWeights(...given),
    loadWeights: (...given) => client.loadWeights(...given),
    close: () => client.close(),
  };
}

/** A supervised token: which datum it is of, and where it is predicted. */
interface Place {
  readonly datum: number;
  readonly position: number;
}

/** @throws UserError when a datum lacks what the loss needs, or the loss needs more than logprobs */
export async function forwardBackwardInTwoPasses(
  engine: TwoPassEngine,
  data: readonly Datum[],
  lossFn: LossFnName,
  { lossFnConfig = {}, ...options }: LossOptions = {},
): Promise<ForwardBackwardOutput> {
  const { loss, lossConfig } = readLoss(lossFn, lossFnConfig);
  if (loss.reads === "scores")
    throw new UserError(
      `Cannot train with "${lossFn}" in two passes: it reads a reward head's scores, expected a loss of logprobs. Train on the embedded engine`,
    );
  expectWholeExamples(loss, data.length);
  const inputs_D = data.map((datum, index) => lossInputs(datum, index, loss));
  const targets_D_T = data.map(({ lossFnInputs }) => lossFnInputs["target_tokens"]!.data);
  const places = targets_D_T.flatMap((targets_T, datum) =>
    targets_T.flatMap((_, position): Place[] =>
      loss.supervisedBy.some((name) => inputs_D[datum]![name]![position] !== 0) ? [{ datum, position }] : [],
    ),
  );
  const spread = (at: (place: number) => number): TensorData[] => {
    const tensors = targets_D_T.map((targets_T) => ({
      data: targets_T.map(() => 0),
      dtype: "float32" as const,
    }));
    places.forEach(({ datum, position }, place) => {
      tensors[datum]!.data[position] = at(place);
    });
    return tensors;
  };
  const weighed = (weights_D: readonly TensorData[]): Datum[] =>
    data.map(({ modelInput, lossFnInputs }, datum) => ({
      modelInput,
      lossFnInputs: { target_tokens: lossFnInputs["target_tokens"]!, weights: weights_D[datum]! },
    }));

  const forward = await engine.forward(weighed(spread(() => 1)), "cross_entropy", {
    ...options,
    supervisedOnly: true,
  });
  const logprobs_D = forward.lossFnOutputs.map(({ logprobs }) => logprobs!);
  const { total, elementwise_S, derivative_S, metrics } = evaluateLoss(loss, lossConfig, {
    places,
    trainingLogprobs_S: places.map(({ datum, position }) => logprobs_D[datum]!.data[position]!),
    inputs: Object.fromEntries(
      loss.inputs.map((name) => [
        name,
        places.map(({ datum, position }) => inputs_D[datum]![name]![position]!),
      ]),
    ),
  });
  const backward = await engine.forwardBackward(
    weighed(spread((place) => -derivative_S[place]!)),
    "cross_entropy",
    options,
  );
  const losses_D = spread((place) => elementwise_S[place]!);
  return {
    lossFnOutputs: data.map((_, datum) => ({
      logprobs: logprobs_D[datum]!,
      elementwise_loss: losses_D[datum]!,
    })),
    metrics: { ...backward.metrics, ...metrics, "loss:sum": total, "supervised_tokens:sum": places.length },
  };
}

/** The loss's graph alone, in float64, over the tokens at `places`. */
function evaluateLoss(
  loss: Loss,
  config: LossFnConfig,
  tokens: {
    readonly places: readonly Place[];
    readonly trainingLogprobs_S: readonly number[];
    readonly inputs: Readonly<Record<string, readonly number[]>>;
  },
) {
  const shape = [tokens.places.length];
  const trainingLogprobs_S = input("trainingLogprobs", shape);
  const given = {
    trainingLogprobs_S,
    inputs: Object.fromEntries(loss.inputs.map((name) => [name, input(`loss.${name}`, shape)])),
    sequences_S: input("sequences", shape, "int64"),
    config,
  };
  const entropy_S = input("entropy", shape);
  const elementwise = loss.perToken({ ...given, entropy_S });
  if (nodesOf({ outputs: { elementwise } }).includes(entropy_S.node)) {
    throw new UserError(
      `Cannot train with "${loss.name}" in two passes: with this config it depends on the entropy, expected a loss of logprobs alone. Set entropy_coef to 0, or train on the embedded engine`,
    );
  }
  const total = sumAll(elementwise);
  const metrics = Object.entries(loss.metrics?.({ ...given, entropy_S: null }) ?? {});
  const derivative = gradient(total, [trainingLogprobs_S])[0]!;
  const numbers = (values: readonly number[]) => ({ shape, data: Float64Array.from(values) });
  const datums = [...new Set(tokens.places.map(({ datum }) => datum))];
  const rankOf = new Map(datums.map((datum, rank) => [datum, rank]));
  const results = evaluate(
    {
      outputs: {
        total,
        elementwise,
        derivative,
        ...Object.fromEntries(metrics.map(([name, value]) => [`metric:${name}`, value])),
      },
    },
    {
      trainingLogprobs: numbers(tokens.trainingLogprobs_S),
      sequences: numbers(tokens.places.map(({ datum }) => rankOf.get(datum)!)),
      ...Object.fromEntries(
        Object.entries(tokens.inputs).map(([name, values]) => [`loss.${name}`, numbers(values)]),
      ),
    },
  );
  const byDatum = (values_S: Float64Array): number[][] =>
    datums.map((datum) => [...values_S.filter((_, place) => tokens.places[place]!.datum === datum)]);
  return {
    total: results["total"]!.data[0]!,
    elementwise_S: results["elementwise"]!.data,
    derivative_S: results["derivative"]!.data,
    metrics: Object.fromEntries(
      datums.length === 0
        ? []
        : metrics.map(([name]) => [name, reducedMetric(name, byDatum(results[`metric:${name}`]!.data))]),
    ),
  };
}

/** The loss's inputs of one datum, with fillers for optional ones. */
function lossInputs(datum: Datum, index: number, loss: Loss): Readonly<Record<string, readonly number[]>> {
  const refuse = (what: string): UserError =>
    new UserError(`Cannot train with "${loss.name}": ${datumTitle(loss, index)} ${what}`);
  const targets = datum.lossFnInputs["target_tokens"]?.data;
  if (targets === undefined) throw refuse("has no target_tokens, expected one per input token");
  const answer_T = datum.lossFnInputs[loss.answersIn ?? ""]?.data ?? [];
  if (loss.answersIn !== undefined && answer_T.every((weight) => weight === 0))
    throw refuse(`has no answer: its ${loss.answersIn} are all 0, expected at least one that is not`);
  return Object.fromEntries(
    loss.inputs.map((name) => {
      const filler = loss.optional[name];
      const given =
        datum.lossFnInputs[name]?.data ?? (filler === undefined ? null : targets.map(() => filler));
      if (given === null) throw refuse(`has no ${name}, expected one number per target token`);
      const values = numberAtAnswer(loss, name, given, answer_T) ?? given;
      if (values.length !== targets.length)
        throw refuse(`has ${values.length} ${name} for ${targets.length} targets, expected equal`);
      return [name, values];
    }),
  );
}
