/** GPT-2's alphabet: every byte as one printable character, so that a vocabulary of bytes is a list of strings. */

/** The character of each byte. Printable Latin-1 stands for itself; the other 68 bytes follow from U+0100 on. */
export const BYTE_TO_CHAR: readonly string[] = byteAlphabet();

/** The byte of each character of the alphabet. */
export const CHAR_TO_BYTE: ReadonlyMap<string, number> = new Map(
  BYTE_TO_CHAR.map((char, byte) => [char, byte]),
);

function byteAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** The UTF-8 bytes of `text`; a lone surrogate becomes U+FFFD, as everywhere on the platform. */
export function utf8Bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** `text` in the byte alphabet. */
export function toByteAlphabet(text: string): string {
  let out = "";
  for (const byte of utf8Bytes(text)) out += BYTE_TO_CHAR[byte]!;
  return out;
}
