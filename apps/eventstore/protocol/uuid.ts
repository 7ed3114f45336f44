import { MalformedMessage, type WireReader } from './wire.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const HYPHEN = 0x2d;
/** What else the real server reads: without hyphens, in braces, in parentheses. */
const OTHER_SPELLING = /^(?:([0-9a-f]{32})|\{([0-9a-f-]{36})\}|\(([0-9a-f-]{36})\))$/;

export const EMPTY_UUID = '00000000-0000-0000-0000-000000000000';

/** Canonical lower-case text of the protocol's UUID message, in either of its two forms. Throws `MalformedMessage`. */
export function readUuid(reader: WireReader): string {
  let text = '';
  while (reader.next()) {
    if (reader.field === 2) text = reader.string().toLowerCase();
    else if (reader.field === 1) {
      const structured = reader.message();
      let most = 0n;
      let least = 0n;
      while (structured.next()) {
        if (structured.field === 1) most = structured.int64();
        else if (structured.field === 2) least = structured.int64();
        else structured.skip();
      }
      text = uuidFromBits(most, least);
    } else reader.skip();
  }
  if (UUID.test(text)) return text;
  const bare = OTHER_SPELLING.exec(text)?.slice(1).find(Boolean)?.replaceAll('-', '') ?? '';
  if (!/^[0-9a-f]{32}$/.test(bare)) throw new MalformedMessage(`'${text.slice(0, 64)}' is not a UUID`);
  return hyphenated(bare);
}

function hyphenated(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function uuidFromBits(most: bigint, least: bigint): string {
  const hex =
    BigInt.asUintN(64, most).toString(16).padStart(16, '0') + BigInt.asUintN(64, least).toString(16).padStart(16, '0');
  return hyphenated(hex);
}

/** The two signed 64-bit halves of a UUID, as the protocol's structured form has them. */
export function uuidToBits(uuid: string): { most: bigint; least: bigint } {
  const hex = uuid.replaceAll('-', '');
  return {
    most: BigInt.asIntN(64, BigInt('0x' + hex.slice(0, 16))),
    least: BigInt.asIntN(64, BigInt('0x' + hex.slice(16))),
  };
}

const NIBBLE = new Uint8Array(128);
for (const [value, digit] of [...'0123456789abcdef'].entries()) NIBBLE[digit.charCodeAt(0)] = value;

/** Puts the 128 bits of a canonical UUID into four words, the highest first. */
export function uuidWords(uuid: string, words: Uint32Array): void {
  let at = 0;
  for (let n = 0; n < 4; n++) {
    let word = 0;
    for (let digits = 0; digits < 8; at++) {
      const code = uuid.charCodeAt(at);
      if (code === HYPHEN) continue;
      word = (word << 4) | NIBBLE[code]!;
      digits++;
    }
    words[n] = word;
  }
}
