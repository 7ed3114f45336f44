import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { consistencyProof } from './merkle.js';
import { parseNote, parseSignatureLine, parseVerifier, signatureLine, type Verifier } from './note.js';
import type { LedgerStore, StoredCheckpoint } from './store.js';

/** Somewhere the host of the log can't take a checkpoint back from. */
export interface Receiver {
  /** Names its progress; never changes. */
  readonly name: string;
  /** Resolves when the checkpoint is there; with signature lines that it got. `known`: the size it has taken before. */
  deliver(checkpoint: StoredCheckpoint, known: number): Promise<string | void>;
}

/** POST of a text, as the guarded client does it. */
export type Post = (
  url: string,
  body: string,
  headers: Readonly<Record<string, string>>,
) => Promise<{ readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: string }>;

const TEXT = { 'content-type': 'text/plain; charset=utf-8' };

/** A file for each checkpoint, never written over: a mounted folder of the auditor's, or one that keeps what it has. */
export function dropFolder(folder: string): Receiver {
  return {
    name: `folder ${folder}`,
    async deliver({ size, note }) {
      await mkdir(folder, { recursive: true });
      const path = join(folder, `checkpoint-${String(size).padStart(12, '0')}.txt`);
      const there = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
      if (there !== undefined) {
        if (parseNote(there).text === parseNote(note).text) return;
        throw new Error(`${path} holds another checkpoint of the same size: one of the two logs was rewritten`);
      }
      const part = `${path}.${process.pid}.part`;
      const file = await open(part, 'w', 0o644);
      try {
        await file.writeFile(note);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, path);
    },
  };
}

/** POST of the signed note to an address. */
export function webhook(url: string, post: Post): Receiver {
  return {
    name: `webhook ${url}`,
    async deliver({ size, note }) {
      const { status } = await post(url, note, { ...TEXT, 'x-picturelock-ledger-size': String(size) });
      if (status < 200 || status > 299) throw new Error(`${new URL(url).host} answered ${status}`);
    },
  };
}

/** A witness of c2sp.org/tlog-witness: it looks whether the tree only grew, remembers, and signs. */
export function witness(key: Verifier, url: string, store: LedgerStore, post: Post): Receiver {
  const address = `${url.replace(/\/$/, '')}/add-checkpoint`;
  return {
    name: `witness ${key.name}`,
    async deliver(checkpoint, known) {
      let from = known;
      for (let attempt = 0; attempt < 2; attempt++) {
        const proof = await consistencyProof(store, from, checkpoint.size);
        const lines = proof.map((hash) => `${hash.toString('base64')}\n`).join('');
        const { status, headers, body } = await post(address, `old ${from}\n${lines}\n${checkpoint.note}`, TEXT);
        if (status === 200) return cosignatures(body, key, checkpoint.note);
        // It has another size in mind, and says which.
        const size = Number(body.trim());
        const told = status === 409 && headers['content-type'] === 'text/x.tlog.size' && Number.isSafeInteger(size);
        if (!told) throw new Error(`Witness ${key.name} answered ${status}: ${body.slice(0, 200)}`);
        if (size > checkpoint.size)
          throw new Error(`Witness ${key.name} has seen ${size} leaves, and there are ${checkpoint.size}`);
        from = size;
      }
      throw new Error(`Witness ${key.name} changes its mind about the size it knows`);
    },
  };
}

function cosignatures(body: string, key: Verifier, note: string): string {
  const { text } = parseNote(note);
  const fitting = body
    .split('\n')
    .filter(Boolean)
    .map(parseSignatureLine)
    .filter((s) => s.name === key.name && s.keyId.equals(key.keyId) && key.verify(text, s.signature) !== undefined);
  if (fitting.length === 0) throw new Error(`Witness ${key.name} sent no signature of its key that fits`);
  return fitting.map(signatureLine).join('');
}

/** `vkey url`, as the setting has it. @throws NoteError, TypeError */
export function parseWitness(text: string): { key: Verifier; url: string } {
  const [vkey = '', url = ''] = text.trim().split(/\s+/);
  return { key: parseVerifier(vkey), url: new URL(url).toString() };
}
