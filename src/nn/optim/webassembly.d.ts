/** The part of WebAssembly that the arena uses; TypeScript declares it only for browsers (lib "dom"). */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  class Memory {
    constructor(size: { initial: number; maximum: number });
    /** Plain, not shared, because we never ask for a shared one. */
    readonly buffer: ArrayBuffer;
  }
  class Instance {
    constructor(module: Module, imports: { env: { memory: Memory } });
    readonly exports: Readonly<Record<string, (...values: number[]) => number>>;
  }
}
