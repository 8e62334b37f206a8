import { defineConfig } from "vitest/config";

/** `npm run test:learning`: does what is trained learn, over several seeds? Minutes rather than seconds. */
export default defineConfig({
  test: { include: ["tests/learning/**/*.slow.test.ts"], pool: "forks", testTimeout: 600_000 },
});
