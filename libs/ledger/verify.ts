/** Offline: a bundle or a proof, a key, perhaps older checkpoints. Needs no log, no database and no network. */
import { z } from 'zod';
import {
  absentShape,
  BUNDLE_FORMAT,
  endShape,
  eventOf,
  eventShape,
  hashesShape,
  headerShape,
  parseProof,
  policyShape,
  PROOF_FORMAT,
  proofShape,
} from './bundle.js';
import { hashEvent, isLeaf, type LedgerEvent } from './leaf.js';
import { HASH_SIZE, MemoryTree, rootHash, verifyInclusion, type Hash } from './merkle.js';
import { NoteError, openCheckpoint, parseVerifier, type Checkpoint, type Verifier } from './note.js';
import type { StreamPolicy } from './source.js';

export type FindingKind =
  /** Not of the format, or cut short. */
  | 'malformed'
  /** The checkpoint is not signed by the log's key, or what is in the bundle does not lead to it. */
  | 'checkpoint'
  /** The tree of an older checkpoint is not the beginning of this one: history was rewritten. */
  | 'rewritten'
  | 'altered'
  | 'missing'
  | 'inserted'
  | 'moved';

export interface Finding {
  readonly kind: FindingKind;
  /** Leaf at fault, where one can be named. */
  readonly index?: number;
  readonly event?: { readonly stream: string; readonly revision: number; readonly type?: string; readonly id: string };
  readonly message: string;
}

export interface Report {
  /** Nothing was found. */
  readonly ok: boolean;
  readonly what: 'bundle' | 'proof';
  readonly origin: string;
  readonly size: number;
  /** Events whose bytes were hashed and fit. */
  readonly verified: number;
  /** Leaves without an event that the rules of their stream allow to be gone. */
  readonly removedByPolicy: number;
  readonly removedFrom: readonly { readonly policy: StreamPolicy; readonly events: number }[];
  /** Cosignatures of the witnesses asked about. */
  readonly witnessed: readonly { readonly name: string; readonly time: Date }[];
  /** Older checkpoints that were found to be beginnings of this tree. */
  readonly olderCheckpoints: readonly number[];
  /** The key came with the bundle: only who has it from elsewhere knows whose signature this is. */
  readonly keyFromBundle: boolean;
  /** In the order of the tree; the first is the first event at fault. */
  readonly findings: readonly Finding[];
}

export interface VerifyOptions {
  /** The log's verifier key, as the auditor knows it. */
  readonly key?: string | undefined;
  readonly witnesses?: readonly string[];
  /** Signed notes the auditor has kept. */
  readonly checkpoints?: readonly string[];
}

const MOST_FINDINGS = 100;

/** @throws NoteError when a given key is none */
export async function verifyLines(
  lines: AsyncIterable<string> | Iterable<string>,
  options: VerifyOptions = {},
): Promise<Report> {
  const check = new Check(options);
  for await (const line of lines) if (line !== '' && !(await check.line(line))) break;
  return check.report();
}

const lineShape = z.union([z.object({ event: eventShape }), hashesShape, absentShape, policyShape, endShape]);

/** A stop in the middle: what follows can't be judged. */
class Malformed extends Error {}

class Check {
  readonly #options: VerifyOptions;
  readonly #witnesses: readonly Verifier[];
  readonly #findings: Finding[] = [];
  readonly #tree = new MemoryTree();
  readonly #policies = new Map<string, { policy: StreamPolicy; events: number }>();
  /** A proof is one object over several lines. */
  #proof: string[] | undefined;
  #header: z.infer<typeof headerShape> | undefined;
  #key: Verifier | undefined;
  #opened: ReturnType<typeof openCheckpoint> | undefined;
  #older: Checkpoint[] = [];
  #consistent: number[] = [];
  #aligned: Alignment | undefined;
  #verified = 0;
  #removed = 0;
  #ended = false;

  constructor(options: VerifyOptions) {
    this.#options = options;
    this.#witnesses = (options.witnesses ?? []).map(parseVerifier);
    if (options.key) this.#key = parseVerifier(options.key);
  }

  /** False when nothing more need be read. */
  async line(text: string): Promise<boolean> {
    try {
      if (this.#proof) this.#proof.push(text);
      else if (!this.#header) this.#begin(text);
      else await this.#next(text);
      return !this.#ended;
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#find({ kind: 'malformed', message: error.message });
      this.#ended = true;
      return false;
    }
  }

  async report(): Promise<Report> {
    let proof: Report | undefined;
    if (this.#proof) proof = this.#verifyProof(this.#proof.join('\n'));
    if (proof) return proof;
    if (!this.#header) this.#find({ kind: 'malformed', message: 'There is nothing to verify' });
    else {
      if (!this.#ended)
        this.#find({ kind: 'malformed', message: 'The bundle is cut short: its last line is not there' });
      if (!this.#aligned) await this.#checkTree();
      this.#aligned?.end();
    }
    return this.#reportOf('bundle', this.#opened?.size ?? this.#header?.size ?? 0);
  }

  #reportOf(what: Report['what'], size: number): Report {
    const findings = [...this.#findings, ...(this.#aligned?.findings ?? [])].slice(0, MOST_FINDINGS);
    return {
      ok: findings.length === 0,
      what,
      origin: this.#opened?.origin ?? this.#key?.name ?? '',
      size,
      verified: this.#verified,
      removedByPolicy: this.#removed,
      removedFrom: [...this.#policies.values()].filter(({ events }) => events > 0),
      witnessed: this.#opened?.witnessed ?? [],
      olderCheckpoints: this.#consistent,
      keyFromBundle: !this.#options.key,
      findings,
    };
  }

  #find(finding: Finding): void {
    this.#findings.push(finding);
  }

  #begin(text: string): void {
    if (!text.includes(BUNDLE_FORMAT)) {
      this.#proof = [text];
      return;
    }
    const header = parse(headerShape, text);
    this.#header = header;
    this.#open(header.key, header.checkpoint);
    if (this.#opened && this.#opened.size !== header.size)
      this.#find({
        kind: 'checkpoint',
        message: `The bundle says ${header.size} leaves, its checkpoint ${this.#opened.size}`,
      });
    for (const note of header.checkpoints) this.#addOlder(note, 'A checkpoint in the bundle');
    for (const note of this.#options.checkpoints ?? []) this.#addOlder(note, 'The older checkpoint');
    this.#older.sort((a, b) => a.size - b.size);
  }

  #open(key: string, checkpoint: string): void {
    try {
      this.#key ??= parseVerifier(key);
      this.#opened = openCheckpoint(checkpoint, this.#key, this.#witnesses);
      for (const { name } of this.#witnesses)
        if (!this.#opened.witnessed.some((w) => w.name === name))
          this.#find({ kind: 'checkpoint', message: `Witness ${name} has not signed the checkpoint` });
    } catch (error) {
      if (!(error instanceof NoteError)) throw error;
      this.#find({ kind: 'checkpoint', message: error.message });
    }
  }

  #addOlder(note: string, what: string): void {
    try {
      if (this.#key) this.#older.push(openCheckpoint(note, this.#key));
    } catch (error) {
      if (!(error instanceof NoteError)) throw error;
      this.#find({ kind: 'checkpoint', message: `${what} is not to be believed: ${error.message}` });
    }
  }

  async #next(text: string): Promise<void> {
    const line = parse(lineShape, text);
    if ('hashes' in line) {
      if (this.#aligned) throw new Malformed('Hashes stand before events');
      const bytes = Buffer.from(line.hashes, 'base64');
      if (bytes.length % HASH_SIZE !== 0) throw new Malformed('A line of hashes is cut short');
      const hashes: Hash[] = [];
      for (let at = 0; at < bytes.length; at += HASH_SIZE) hashes.push(bytes.subarray(at, at + HASH_SIZE));
      return this.#tree.add(hashes);
    }
    this.#aligned ??= await this.#checkTree();
    if ('event' in line) {
      const event = eventOf(line.event);
      if (this.#aligned.take(hashEvent(event), event) && isLeaf(event)) this.#verified++;
    } else if ('policy' in line) {
      const policy = line.policy as StreamPolicy;
      this.#policies.set(policy.stream, { policy, events: 0 });
    } else if ('absent' in line) this.#absent(line.absent);
    else {
      this.#ended = true;
      if (line.end !== this.#header!.size)
        throw new Malformed(`The bundle ends at ${line.end} of ${this.#header!.size}`);
    }
  }

  #absent(absent: z.infer<typeof absentShape>['absent']): void {
    const { index, ...event } = absent;
    const known = this.#policies.get(absent.stream);
    this.#aligned!.skip(index);
    if (known && allows(known.policy, absent.revision)) {
      known.events++;
      this.#removed++;
      return;
    }
    this.#aligned!.findings.push({
      kind: 'missing',
      index,
      event,
      message: `${nameOf(event)} is not in the log, and nothing in its stream's rules allows that`,
    });
  }

  /** Whether the hashes lead to the checkpoint, and begin as the older ones say. */
  async #checkTree(): Promise<Alignment> {
    const { size } = this.#tree;
    const header = this.#header!;
    if (size !== header.size)
      this.#find({ kind: 'malformed', message: `The bundle has ${size} hashes of ${header.size}` });
    const opened = this.#opened;
    const fits = opened && opened.size <= size && (await rootHash(this.#tree, opened.size)).equals(opened.root);
    let good = 0;
    let bad: number | undefined;
    for (const { size: older, root } of this.#older) {
      if (older > size) {
        this.#find({
          kind: 'rewritten',
          message: `An older checkpoint has ${older} leaves and this bundle ${size}: the end of the log was cut off`,
        });
        continue;
      }
      if ((await rootHash(this.#tree, older)).equals(root)) {
        if (bad === undefined) good = Math.max(good, older);
        this.#consistent.push(older);
      } else bad ??= older;
    }
    if (bad !== undefined)
      this.#find({
        kind: 'rewritten',
        index: good,
        message: `The checkpoint of ${bad} leaves does not fit, that of ${good} does: what stands from leaf ${good} up to ${bad - 1} was changed afterwards`,
      });
    if (opened && !fits && bad === undefined)
      this.#find({
        kind: 'checkpoint',
        index: good,
        message: `The hashes do not lead to the signed root: something from leaf ${good} up to ${opened.size - 1} was changed`,
      });
    return (this.#aligned = new Alignment(this.#tree, Math.min(header.from, size)));
  }

  #verifyProof(text: string): Report {
    try {
      const { format, key, event: json, proof: proofText } = parse(proofShape, text);
      const proof = format === PROOF_FORMAT ? parseProof(proofText) : undefined;
      if (!proof) throw new Malformed('The proof is not a c2sp.org/tlog-proof@v1');
      this.#open(key, proof.checkpoint);
      const opened = this.#opened;
      if (!opened) return this.#reportOf('proof', 0);
      const event = eventOf(json);
      if (isLeaf(event) && verifyInclusion(hashEvent(event), proof.index, opened.size, proof.proof, opened.root)) {
        this.#verified = 1;
      } else {
        const { stream, revision, type, id } = event;
        this.#find({
          kind: 'altered',
          index: proof.index,
          event: { stream, revision, type, id },
          message: `${nameOf(event)} is not leaf ${proof.index} of the signed tree of ${opened.size}`,
        });
      }
      for (const note of this.#options.checkpoints ?? []) {
        this.#addOlder(note, 'The older checkpoint');
        const older = this.#older.at(-1);
        if (older?.size === opened.size && older.root.equals(opened.root)) this.#consistent.push(older.size);
        else
          this.#find({
            kind: 'checkpoint',
            message: 'A proof says nothing about a checkpoint of another size: verify a bundle with it',
          });
      }
      return this.#reportOf('proof', opened.size);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#find({ kind: 'malformed', message: error.message });
      return this.#reportOf('proof', 0);
    }
  }
}

function parse<T>(shape: z.ZodType<T>, text: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Malformed(`Not JSON: ${text.slice(0, 60)}`);
  }
  const parsed = shape.safeParse(json);
  if (!parsed.success) throw new Malformed(`Not a bundle or proof of the ledger: ${text.slice(0, 60)}`);
  return parsed.data;
}

const nameOf = ({ stream, revision, type, id }: { stream: string; revision: number; type?: string; id: string }) =>
  `${type ? `${type} ` : 'The event '}${id} (${stream}@${revision})`;

/** What the stream's own rules allow the store to remove. The age of what is gone can't be told, only that there is a limit. */
function allows({ maxCount, maxAge, truncateBefore, deleted, last }: StreamPolicy, revision: number): boolean {
  if (deleted) return true;
  if (truncateBefore !== undefined && revision < truncateBefore) return true;
  if (maxCount !== undefined && revision <= last - maxCount) return true;
  return maxAge !== undefined && revision <= last;
}

/** Events laid against the leaves, in order; says what is altered, missing, inserted or moved, the first first. */
class Alignment {
  readonly findings: Finding[] = [];
  readonly #tree: MemoryTree;
  #at: number;
  /** Events since the last one that fitted, of which no leaf is known. */
  #unknown: LedgerEvent[] = [];
  /** Leaves passed over as missing, and where that is said. */
  readonly #missing = new Map<number, number>();
  /** Index of each hash; made when the first thing does not fit. */
  #indexes: Map<string, number> | undefined;

  constructor(tree: MemoryTree, from: number) {
    this.#tree = tree;
    this.#at = from;
  }

  /** True when the event is the next leaf, or a leaf further on. */
  take(hash: Hash, event: LedgerEvent): boolean {
    if (this.#unknown.length === 0 && this.#at < this.#tree.size && this.#tree.leaf(this.#at).equals(hash)) {
      this.#at++;
      return true;
    }
    const index = this.#indexOf(hash);
    if (index === undefined) {
      this.#unknown.push(event);
      return false;
    }
    if (index >= this.#at) {
      this.#settle(index);
      this.#at = index + 1;
      return true;
    }
    const said = this.#missing.get(index);
    this.#missing.delete(index);
    const finding: Finding =
      said === undefined
        ? { kind: 'inserted', index, ...this.#names(event), message: `${nameOf(event)} stands there twice` }
        : {
            kind: 'moved',
            index,
            ...this.#names(event),
            message: `${nameOf(event)} stands in another place than recorded`,
          };
    if (said === undefined) this.findings.push(finding);
    else this.findings[said] = finding;
    return false;
  }

  /** The leaf has no event, and says so. */
  skip(index: number): void {
    if (index >= this.#at && index < this.#tree.size) {
      this.#settle(index);
      this.#at = index + 1;
    }
  }

  end(): void {
    this.#settle(this.#tree.size);
    this.#at = this.#tree.size;
  }

  #names({ stream, revision, type, id }: LedgerEvent): Pick<Finding, 'event'> {
    return { event: { stream, revision, type, id } };
  }

  /** Everything up to leaf `index` is over: unknown events are altered leaves as far as there are leaves for them. */
  #settle(index: number): void {
    for (const event of this.#unknown) {
      if (this.#at < index) {
        const message = `${nameOf(event)} is not what was recorded as leaf ${this.#at}`;
        this.findings.push({ kind: 'altered', index: this.#at++, ...this.#names(event), message });
      } else {
        const message = `${nameOf(event)} was never recorded; it stands before leaf ${index}`;
        this.findings.push({ kind: 'inserted', index, ...this.#names(event), message });
      }
    }
    this.#unknown = [];
    for (; this.#at < index; this.#at++) {
      if (this.findings.length < MOST_FINDINGS) {
        this.#missing.set(this.#at, this.findings.length);
        this.findings.push({ kind: 'missing', index: this.#at, message: `The event of leaf ${this.#at} is missing` });
      }
    }
  }

  #indexOf(hash: Hash): number | undefined {
    if (!this.#indexes) {
      this.#indexes = new Map();
      for (let i = 0; i < this.#tree.size; i++) this.#indexes.set(this.#tree.leaf(i).toString('base64'), i);
    }
    return this.#indexes.get(hash.toString('base64'));
  }
}
