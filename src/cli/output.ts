/** What a command says on standard output: lines for people, or with `--json` one JSON object per line for programs. */

export interface Output {
  readonly isJson: boolean;
  /** A line for people; silent with `--json`. */
  print(line: string): void;
  /** A line for programs: an object with `type`; silent without `--json`. */
  record(type: string, fields: Readonly<Record<string, unknown>>): void;
}

export interface OutputOptions {
  readonly json?: boolean | undefined;
}

export function createOutput(
  { json = false }: OutputOptions,
  write: (text: string) => void = (text) => process.stdout.write(text),
): Output {
  return {
    isJson: json,
    print: (line) => {
      if (!json) write(`${line}\n`);
    },
    record: (type, fields) => {
      if (json) write(`${JSON.stringify({ type, ...fields })}\n`);
    },
  };
}

/** Columns padded to their widest cell; columns whose cells are all numbers are aligned to the right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const isNumeric = header.map((_, i) => rows.length > 0 && rows.every((row) => /^-?[\d.,]*$/.test(row[i]!)));
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (isNumeric[i] === true ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  return [header, ...rows].map(line).join("\n");
}

/** `1.5 GB`, in powers of 1,000 as disks are sold. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  const value = bytes / 1000 ** power;
  return `${power === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[power]}`;
}

/** `42 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
