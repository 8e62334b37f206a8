/** A compiled graph behind a session: binds the symbolic axes of a call and knows the shapes of what comes out. */
import { bindShapes, type NamedValue, type OnnxModel, resolveShape, type Shape } from "../graph/index.js";
import { BYTES_PER_ELEMENT, type DType, type HostTensor, hostTensor, sizeOf } from "../tensor/index.js";
import type { NamedTensors, Runtime, Session, SessionOptions } from "./session/index.js";

export class Executable {
  readonly #model: OnnxModel;
  readonly #session: Session;
  /** `isSized`: the graph leaves a size of it open. */
  readonly #inputs: readonly (NamedValue & { readonly isSized: boolean })[];
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];

  private constructor(model: OnnxModel, session: Session) {
    this.#model = model;
    this.#session = session;
    this.#inputs = model.inputs.map((input) => ({
      ...input,
      isSized: input.shape.some((dim) => typeof dim === "string"),
    }));
    this.inputNames = model.inputs.map(({ name }) => name);
    this.outputNames = model.outputs.map(({ name }) => name);
  }

  static async create(runtime: Runtime, model: OnnxModel, options: SessionOptions = {}): Promise<Executable> {
    return new Executable(model, await runtime.createSession(model.bytes, options));
  }

  /**
   * Runs with the inputs that the graph declares (others in `inputs` are ignored) and returns the outputs asked for.
   * Where `into` holds a tensor for an output it is written there, else into fresh memory.
   */
  async run(
    inputs: NamedTensors,
    outputs: readonly string[] = this.outputNames,
    into: NamedTensors = {},
  ): Promise<Record<string, HostTensor>> {
    const fed: Record<string, HostTensor> = {};
    const sized: { readonly name: string; readonly declared: Shape; readonly actual: readonly number[] }[] =
      [];
    for (const { name, dtype, shape, isSized } of this.#inputs) {
      const tensor = inputs[name];
      if (tensor === undefined) throw new Error(`internal: cannot run graph: input "${name}" is missing`);
      if (tensor.dtype !== dtype) {
        throw new Error(`internal: cannot run graph: input "${name}" is ${tensor.dtype}, expected ${dtype}`);
      }
      fed[name] = tensor;
      if (isSized) sized.push({ name, declared: shape, actual: tensor.shape });
      // Weights are many, and need no more than a look: this throws, and says what differs.
      else if (!sameShape(shape, tensor.shape)) bindShapes([{ name, declared: shape, actual: tensor.shape }]);
    }
    const bindings = bindShapes(sized);
    for (const { name, shape } of this.#model.shapeInputs) {
      fed[name] = hostTensor(
        "int64",
        [shape.length],
        BigInt64Array.from(resolveShape(shape, bindings), BigInt),
      );
    }
    const fetched: Record<string, HostTensor> = {};
    for (const name of outputs) {
      const declared = this.#model.outputs.find((output) => output.name === name);
      if (declared === undefined) throw new Error(`internal: cannot run graph: it has no output "${name}"`);
      fetched[name] = into[name] ?? allocate(declared.dtype, resolveShape(declared.shape, bindings));
    }
    await this.#session.run(fed, fetched);
    return fetched;
  }

  release(): void {
    this.#session.release();
  }
}

function sameShape(declared: Shape, actual: readonly number[]): boolean {
  return declared.length === actual.length && declared.every((dim, axis) => dim === actual[axis]);
}

/** Zeros of a dtype, in memory outside the JavaScript heap. */
export function allocate<D extends DType>(dtype: D, shape: readonly number[]): HostTensor<D> {
  const buffer = new ArrayBuffer(sizeOf(shape) * BYTES_PER_ELEMENT[dtype]);
  const views = {
    float32: () => new Float32Array(buffer),
    int64: () => new BigInt64Array(buffer),
    int32: () => new Int32Array(buffer),
    bool: () => new Uint8Array(buffer),
    uint8: () => new Uint8Array(buffer),
    uint16: () => new Uint16Array(buffer),
  };
  return hostTensor(dtype, shape, views[dtype]() as HostTensor<D>["data"]); // the view of that dtype
}
