/**
 * Axis sizes of a graph, known or symbolic. A symbolic size is a product in canonical text form: a coefficient
 * (left out when 1) and symbols in alphabetical order, such as "T", "B*L" or "7*L". Sums are never needed.
 */

export type Dim = number | string;
export type Shape = readonly Dim[];

/** What the symbols of a graph stand for in one call. */
export type Bindings = Readonly<Record<string, number>>;

interface Product {
  readonly coefficient: number;
  readonly symbols: readonly string[];
}

function parseDim(dim: Dim): Product {
  if (typeof dim === "number") return { coefficient: dim, symbols: [] };
  const factors = dim.split("*");
  const first = Number(factors[0]);
  return Number.isNaN(first)
    ? { coefficient: 1, symbols: factors }
    : { coefficient: first, symbols: factors.slice(1) };
}

function formatDim({ coefficient, symbols }: Product): Dim {
  if (symbols.length === 0 || coefficient === 0) return coefficient;
  const sorted = [...symbols].sort();
  return (coefficient === 1 ? sorted : [String(coefficient), ...sorted]).join("*");
}

/** The product of sizes; 1 for none. */
export function multiplyDims(...dims: readonly Dim[]): Dim {
  const products = dims.map(parseDim);
  return formatDim({
    coefficient: products.reduce((product, { coefficient }) => product * coefficient, 1),
    symbols: products.flatMap(({ symbols }) => symbols),
  });
}

/** `dim` without the factor `divisor`; throws when it is none. */
export function divideDim(dim: Dim, divisor: Dim): Dim {
  const rest = parseDim(dim);
  const { coefficient, symbols } = parseDim(divisor);
  const remaining = [...rest.symbols];
  for (const symbol of symbols) {
    const at = remaining.indexOf(symbol);
    if (at < 0)
      throw new RangeError(
        `Cannot divide axis size "${dim}" by "${divisor}": "${symbol}" is no factor of it`,
      );
    remaining.splice(at, 1);
  }
  if (rest.coefficient % coefficient !== 0) {
    throw new RangeError(
      `Cannot divide axis size "${dim}" by "${divisor}": ${coefficient} is no factor of ${rest.coefficient}`,
    );
  }
  return formatDim({ coefficient: rest.coefficient / coefficient, symbols: remaining });
}

/** Number of elements of a shape. */
export function sizeOfShape(shape: Shape): Dim {
  return multiplyDims(...shape);
}

export function isSymbolic(dim: Dim): dim is string {
  return typeof dim === "string";
}

export function sameShape(left: Shape, right: Shape): boolean {
  return left.length === right.length && left.every((dim, axis) => dim === right[axis]);
}

/** The value of a size; throws for a symbol that `bindings` lacks. */
export function resolveDim(dim: Dim, bindings: Bindings): number {
  const { coefficient, symbols } = parseDim(dim);
  return symbols.reduce((product, symbol) => {
    const value = bindings[symbol];
    if (value === undefined)
      throw new RangeError(`Cannot resolve axis size "${dim}": symbol "${symbol}" is unbound`);
    return product * value;
  }, coefficient);
}

export function resolveShape(shape: Shape, bindings: Bindings): number[] {
  return shape.map((dim) => resolveDim(dim, bindings));
}

export interface NamedShape {
  readonly name: string;
  readonly declared: Shape;
  readonly actual: readonly number[];
}

/**
 * What the symbols stand for, from the actual shapes of a call's inputs. A product of symbols is solved once all but
 * one of them are known.
 * @throws RangeError when a shape does not fit, or a symbol stays unbound
 */
export function bindShapes(shapes: readonly NamedShape[]): Record<string, number> {
  const bindings: Record<string, number> = {};
  const solve = ({ declared, actual }: NamedShape): void => {
    for (const [axis, dim] of declared.entries()) {
      const { coefficient, symbols } = parseDim(dim);
      const unknown = symbols.filter((symbol) => bindings[symbol] === undefined);
      const known = symbols.reduce((product, symbol) => product * (bindings[symbol] ?? 1), coefficient);
      if (unknown.length === 1 && actual[axis]! % known === 0) bindings[unknown[0]!] = actual[axis]! / known;
    }
  };
  for (const _round of [1, 2]) shapes.forEach(solve);
  for (const { name, declared, actual } of shapes) {
    const wrong = (reason: string): RangeError =>
      new RangeError(
        `Cannot bind input "${name}": shape ${formatShape(actual)}, expected ${formatShape(declared)}: ${reason}`,
      );
    if (declared.length !== actual.length) throw wrong("rank differs");
    for (const [axis, dim] of declared.entries()) {
      const expected = resolveDim(dim, bindings);
      if (expected !== actual[axis]) throw wrong(`axis ${axis} is ${actual[axis]}, expected ${expected}`);
    }
  }
  return bindings;
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}
