// Compiles native/*.c into build/native/hone-kernels.so with the system's C compiler, when there is one.
// Optional: without the library everything runs on onnxruntime's own operators. Never fails an install.
// Usage: node native/build.mjs [--force]
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const source = import.meta.dirname;
const target = join(source, "..", "build", "native");
const library = join(target, "hone-kernels.so");
const compiler = process.env.CC ?? "cc";
// No -march: every kernel names its own instruction set and is chosen when the program runs.
const flags = ["-std=gnu11", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Werror=implicit-function-declaration"];

const ageOf = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);
const skip = (reason) => {
  rmSync(library, { force: true });
  console.log(`hone: own kernels not built (${reason}); stock operators will be used`);
};

async function build() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return skip(`${process.platform} ${process.arch}, expected linux x64`);
  }
  const files = readdirSync(source);
  const units = files.filter((file) => file.endsWith(".c"));
  const newestHeader = Math.max(
    ageOf(import.meta.filename),
    ...files.filter((file) => file.endsWith(".h")).map((file) => ageOf(join(source, file))),
  );
  const objectOf = (unit) => join(target, unit.replace(/\.c$/, ".o"));
  const isStale = (unit) =>
    process.argv.includes("--force") || ageOf(objectOf(unit)) < Math.max(newestHeader, ageOf(join(source, unit)));
  const stale = units.filter(isStale);
  if (stale.length === 0 && ageOf(library) >= Math.max(...units.map((unit) => ageOf(objectOf(unit))))) return;
  const version = spawnSync(compiler, ["--version"], { encoding: "utf8" });
  if (version.status !== 0) return skip(`no C compiler "${compiler}"`);

  mkdirSync(target, { recursive: true });
  const waiting = [...stale];
  const failures = [];
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let unit = waiting.pop(); unit !== undefined; unit = waiting.pop()) {
        // Written beside and renamed, so that a build cut short leaves no half an object.
        const part = `${objectOf(unit)}.${process.pid}`;
        const errors = await compile([...flags, "-c", join(source, unit), "-o", part]);
        if (errors === undefined) renameSync(part, objectOf(unit));
        else failures.push(`${unit}: ${errors}`);
      }
    }),
  );
  if (failures.length > 0) {
    console.error(failures.join("\n"));
    return skip("compiler errors above");
  }
  const part = `${library}.${process.pid}`;
  const errors = await compile(["-shared", "-pthread", "-o", part, ...units.map(objectOf), "-lm"]);
  if (errors !== undefined) {
    console.error(errors);
    return skip("linker errors above");
  }
  renameSync(part, library);
  console.log(`hone: built own kernels (${version.stdout.split("\n")[0]})`);
}

function compile(args) {
  return new Promise((resolve) => {
    const child = spawn(compiler, args, { stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    child.stderr.on("data", (chunk) => (errors += chunk));
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code) => resolve(code === 0 ? undefined : errors));
  });
}

try {
  await build();
} catch (error) {
  skip(error instanceof Error ? error.message : String(error));
}
