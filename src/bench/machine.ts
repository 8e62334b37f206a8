/** What /proc tells about the machine and about a process. Answers null where there is no /proc. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own tick. */
const TICKS_PER_SECOND = 100;

/** Cores, processor and memory in one line. */
export function machineName(): string {
  const gigabytes = Math.round(totalmem() / 2 ** 30);
  const model = (cpus()[0]?.model ?? process.arch).replace(/\s+/g, " ").trim();
  return `${availableParallelism()} cores ${model}, ${gigabytes} GiB, Node ${process.versions.node}`;
}

/** Seconds of CPU time that all processes of the machine have used since it started. */
export function machineCpuSeconds(): number | null {
  const line = readProc("/proc/stat")?.match(/^cpu +(.+)$/m)?.[1];
  if (line === undefined) return null;
  // user nice system idle iowait irq softirq steal; guest time is inside user.
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(" ").map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

/** Seconds of CPU time of one process, with its threads and the children it has waited for. */
export function processCpuSeconds(pid: number): number | null {
  // The command's name is in parentheses and may itself have spaces.
  const fields = readProc(`/proc/${pid}/stat`)?.split(") ").at(-1)?.split(" ");
  if (fields === undefined) return null;
  const [user, system, childrenUser, childrenSystem] = fields.slice(11, 15).map(Number);
  return (user! + system! + childrenUser! + childrenSystem!) / TICKS_PER_SECOND;
}

/** The most physical memory this process has held so far. */
export function peakResidentBytes(): number {
  const kilobytes = readProc("/proc/self/status")?.match(/^VmHWM:\s+(\d+) kB/m)?.[1];
  return (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes)) * 1024;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // another system, or a process that has ended
  }
}
