/**
 * What a recorder writes into a wave file beside the sound and ffprobe does not tell: the iXML chunk (Gallery Software, iXML
 * specification). Chunks are walked by their headers, so the size of the file does not matter.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { parseRate, type Rate } from '../timecode.js';

export interface BroadcastWave {
  readonly scene: string | null;
  readonly take: string | null;
  readonly tape: string | null;
  /** TIMECODE_RATE; null when it is not told. */
  readonly rate: Rate | null;
  /** TIMECODE_FLAG is DF. */
  readonly dropFrame: boolean;
}

const MAX_CHUNKS = 1000;
const MAX_IXML_BYTES = 1 << 20;

/** The iXML data of a RIFF, RF64 or BW64 file; null when it has none or the chunks are broken. */
export async function readBroadcastWave(file: string): Promise<BroadcastWave | null> {
  const handle = await open(file, 'r');
  try {
    const text = await findIxml(handle);
    return text === null ? null : parseIxml(text);
  } finally {
    await handle.close();
  }
}

async function findIxml(handle: FileHandle): Promise<string | null> {
  const { size } = await handle.stat();
  let dataBytes: number | null = null;
  let at = 12;
  for (let chunk = 0; chunk < MAX_CHUNKS && at + 8 <= size; chunk += 1) {
    const { buffer } = await handle.read(Buffer.alloc(24), 0, 24, at);
    const name = buffer.toString('latin1', 0, 4);
    let length = buffer.readUInt32LE(4);
    // RF64: the size of the sound is in the first chunk, and its own header says 0xffffffff (EBU Tech 3306).
    if (name === 'ds64') dataBytes = Number(buffer.readBigUInt64LE(16));
    if (name === 'data' && length === 0xffff_ffff && dataBytes !== null) length = dataBytes;
    if (name === 'iXML') {
      const bytes = Math.min(length, MAX_IXML_BYTES, size - at - 8);
      return (await handle.read(Buffer.alloc(bytes), 0, bytes, at + 8)).buffer.toString('utf8');
    }
    at += 8 + length + (length % 2);
  }
  return null;
}

/** The elements that are of use; exported for tests. */
export function parseIxml(text: string): BroadcastWave {
  const element = (name: string) => {
    const value = new RegExp(`<${name}>([^<]{1,256})</${name}>`).exec(text)?.[1]?.trim();
    return value
      ? value
          .replace(/&lt;/g, '<')
          .replace(/&gt;/g, '>')
          .replace(/&quot;/g, '"')
          .replace(/&amp;/g, '&')
      : null;
  };
  const rate = parseRate(element('TIMECODE_RATE') ?? '');
  return {
    scene: element('SCENE'),
    take: element('TAKE'),
    tape: element('TAPE'),
    rate: rate.ok ? rate.value : null,
    dropFrame: element('TIMECODE_FLAG') === 'DF',
  };
}
