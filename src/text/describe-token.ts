/** Single tokens made visible, for previews and messages: no line breaks, no invisible bytes. */
import type { TextTokenizer } from "./tokenizer.js";

/**
 * The token's text with control characters and odd spaces escaped. Bytes that are not whole characters are shown as
 * `\xE2`; an id without a token as `<?7>`. Ordinary spaces stay.
 */
export function describeToken(tokenizer: TextTokenizer, id: number): string {
  const token = tokenizer.tokenString(id);
  if (token === undefined) return `<?${id}>`;
  const bytes = tokenizer.tokenBytes(id);
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const char = characterAt(bytes, at);
    if (char === undefined) {
      text += `\\x${bytes[at]!.toString(16).toUpperCase().padStart(2, "0")}`;
      at++;
    } else {
      text += visible(char.text);
      at += char.length;
    }
  }
  return text;
}

function characterAt(bytes: Uint8Array, at: number): { text: string; length: number } | undefined {
  const first = bytes[at]!;
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (at + length > bytes.length) return undefined;
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return { text: decoder.decode(bytes.subarray(at, at + length)), length };
  } catch {
    return undefined;
  }
}

const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

function visible(char: string): string {
  const escaped = ESCAPES[char];
  if (escaped !== undefined) return escaped;
  // Marks join the character before them in a terminal, so they are escaped as well.
  if (char === " " || !/[\p{C}\p{Z}\p{M}]/u.test(char)) return char;
  return `\\u{${char.codePointAt(0)!.toString(16).toUpperCase()}}`;
}
