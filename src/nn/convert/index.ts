/** Models in other layouts, brought into Hugging Face's. */
export type { ConvertedModel, ConvertedTensor } from "./converted-model.js";
export { type GgufModel, ggufNameOf, readGgufModel } from "./gguf-model.js";
export { type FolderOptions, writeHuggingFaceFolder } from "./hugging-face-folder.js";
export { readLlama2c } from "./llama2c.js";
