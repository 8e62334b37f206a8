/**
 * One onnxruntime session through the C API: inputs are read and outputs written where the caller keeps them.
 * Names and tensor handles are kept from run to run, so that a run costs as little as its graph allows.
 */
import koffi from "koffi";
import { ONNX_TYPE } from "../../graph/index.js";
import { BYTES_PER_ELEMENT, type HostTensor, sizeOf } from "../../tensor/index.js";
import { type OrtApi, type Pointer, takeString } from "./ort-api.js";
import type { NamedTensors, Session } from "./session.js";

/** What every session of a runtime shares. */
export interface OrtContext {
  readonly ort: OrtApi;
  readonly env: Pointer;
  readonly allocator: Pointer;
  readonly cpuMemory: Pointer;
}

/**
 * A tensor handle made earlier. It names an address and owns nothing, so a session keeps no weights alive; it
 * serves whatever array lies at that address in a later run.
 */
interface Handle {
  readonly value: Pointer;
  readonly address: Pointer;
  readonly dtype: HostTensor["dtype"];
  readonly shape: readonly number[];
}

/** One name of the graph: its C string, and the handle of its last run. */
interface Slot {
  readonly name: string;
  readonly cName: Pointer;
  handle?: Handle;
}

export class NativeSession implements Session {
  readonly #context: OrtContext;
  readonly #inputs: ReadonlyMap<string, Slot>;
  readonly #outputs: ReadonlyMap<string, Slot>;
  readonly #inputNames: BigUint64Array;
  readonly #inputValues: BigUint64Array;
  readonly #outputNames: BigUint64Array;
  readonly #outputValues: BigUint64Array;
  /** The bytes behind every `cName`. */
  readonly #cStrings: Buffer[] = [];
  #session: Pointer | undefined;

  constructor(context: OrtContext, session: Pointer) {
    this.#context = context;
    this.#session = session;
    const { ort } = context;
    this.#inputs = this.#slots(ort.sessionInputCount, ort.sessionInputName);
    this.#outputs = this.#slots(ort.sessionOutputCount, ort.sessionOutputName);
    this.#inputNames = BigUint64Array.from(this.#inputs.values(), (slot) => slot.cName);
    this.#inputValues = new BigUint64Array(this.#inputs.size);
    this.#outputNames = new BigUint64Array(this.#outputs.size);
    this.#outputValues = new BigUint64Array(this.#outputs.size);
  }

  async run(inputs: NamedTensors, outputs: NamedTensors): Promise<void> {
    const session = this.#session;
    if (session === undefined) throw new Error("Cannot run session: it was released");
    let given = 0;
    for (const name in inputs) {
      if (!this.#inputs.has(name)) throw unknownName("input", name, this.#inputs);
      given += 1;
    }
    let place = 0;
    for (const slot of this.#inputs.values()) {
      const tensor = inputs[slot.name];
      if (tensor === undefined) {
        throw new Error(
          `Cannot run session: ${given} inputs without "${slot.name}", expected one for each name`,
        );
      }
      this.#inputValues[place++] = this.#handleOf(slot, tensor);
    }
    let fetched = 0;
    for (const name in outputs) {
      const slot = this.#outputs.get(name);
      if (slot === undefined) throw unknownName("output", name, this.#outputs);
      this.#outputNames[fetched] = slot.cName;
      // The loop runs over the keys of `outputs`, so the tensor is there.
      this.#outputValues[fetched++] = this.#handleOf(slot, outputs[name]!);
    }
    const { ort } = this.#context;
    const status = ort.run(
      session,
      null,
      this.#inputNames,
      this.#inputValues,
      place,
      this.#outputNames,
      fetched,
      this.#outputValues,
    );
    ort.check(status, "Cannot run session");
  }

  release(): void {
    if (this.#session === undefined) return;
    const { ort } = this.#context;
    for (const slot of [...this.#inputs.values(), ...this.#outputs.values()]) {
      if (slot.handle !== undefined) ort.releaseValue(slot.handle.value);
      delete slot.handle;
    }
    ort.releaseSession(this.#session);
    this.#session = undefined;
  }

  #handleOf(slot: Slot, tensor: HostTensor): Pointer {
    const { dtype, shape, data } = tensor;
    const size = sizeOf(shape);
    if (data.length !== size || data.BYTES_PER_ELEMENT !== BYTES_PER_ELEMENT[dtype]) {
      throw new Error(
        `Cannot run session: "${slot.name}" has ${data.length} elements of ${data.BYTES_PER_ELEMENT} bytes, expected ` +
          `${size} of ${BYTES_PER_ELEMENT[dtype]} for ${dtype} of shape [${shape.join(", ")}]`,
      );
    }
    // onnxruntime refuses null, which an empty array may have for an address.
    const address = koffi.address(size === 0 ? NOTHING : data);
    const kept = slot.handle;
    if (kept?.address === address && kept.dtype === dtype && sameShape(kept.shape, shape)) return kept.value;
    const { ort, cpuMemory } = this.#context;
    const out = new BigUint64Array(1);
    const status = ort.createTensorWithData(
      cpuMemory,
      address,
      data.byteLength,
      BigInt64Array.from(shape, BigInt),
      shape.length,
      ONNX_TYPE[dtype],
      out,
    );
    ort.check(status, `Cannot run session: "${slot.name}"`);
    if (kept !== undefined) ort.releaseValue(kept.value);
    slot.handle = { value: out[0]!, address, dtype, shape: [...shape] };
    return slot.handle.value;
  }

  #slots(count: OrtApi["sessionInputCount"], nameAt: OrtApi["sessionInputName"]): Map<string, Slot> {
    const { ort, allocator } = this.#context;
    // Only the constructor calls this, after it has set the session.
    const session = this.#session!;
    const out = new BigUint64Array(1);
    ort.check(count(session, out), "Cannot create session");
    const slots = new Map<string, Slot>();
    const total = Number(out[0]);
    for (let index = 0; index < total; index++) {
      ort.check(nameAt(session, index, allocator, out), "Cannot create session");
      const name = takeString(ort, allocator, out[0]!);
      const bytes = Buffer.from(`${name}\0`, "utf8");
      this.#cStrings.push(bytes);
      slots.set(name, { name, cName: koffi.address(bytes) });
    }
    return slots;
  }
}

/** Where tensors without elements lie. */
const NOTHING = new Float32Array(64);

function sameShape(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((size, axis) => size === right[axis]);
}

function unknownName(kind: "input" | "output", name: string, slots: ReadonlyMap<string, Slot>): Error {
  const known = [...slots.keys()];
  const list =
    known.length > 8 ? `${known.slice(0, 8).join(", ")} or ${known.length - 8} more` : known.join(", ");
  return new Error(`Cannot run session: the graph has no ${kind} "${name}", expected ${list}`);
}
