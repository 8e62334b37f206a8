import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "tests/**/*.test.ts"],
    exclude: ["**/*.slow.test.ts", "**/*.gpu.test.ts", "node_modules/**"],
    // Worker threads are part of what we test, so each file gets a process of its own.
    pool: "forks",
    testTimeout: 60_000,
  },
});
