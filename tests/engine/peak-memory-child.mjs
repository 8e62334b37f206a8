// Trains two steps of a model given as JSON and prints the peak of this process's resident memory, in bytes.
import { createTrainingClient } from "../../dist/engine/index.js";
import { AdamParams, nextTokenDatum } from "../../dist/protocol/index.js";

const { options, sequences, length } = JSON.parse(process.argv[2]);
const client = await createTrainingClient(options);
const { vocabularySize } = client.info;
const datums = Array.from({ length: sequences }, (_, s) => {
  const tokens = Array.from({ length: length + 1 }, (_, i) => (s * 31 + i * 17 + i * i) % vocabularySize);
  return nextTokenDatum(tokens, new Array(length + 1).fill(1));
});
for (let step = 0; step < 2; step++) {
  await client.forwardBackward(datums, "cross_entropy");
  await client.optimStep(AdamParams.parse({}));
}
await client.close();
console.log(process.resourceUsage().maxRSS * 1024);
