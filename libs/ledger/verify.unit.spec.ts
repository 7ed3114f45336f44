import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { BUNDLE_FORMAT, eventJson, eventOf, eventShape, parseProof } from './bundle.js';
import { hashEvent, isLeaf, leafBytes, type LedgerEvent } from './leaf.js';
import { inclusionProof, MemoryTree, rootHash } from './merkle.js';
import { formatCheckpoint, formatNote, generateSigner, parseSigner, signNote } from './note.js';
import type { StreamPolicy } from './source.js';
import { verifyLines, type Finding, type Report, type VerifyOptions } from './verify.js';

const signer = parseSigner(generateSigner('studio.example/ledger'));

const eventOfNumber = (n: number): LedgerEvent => ({
  stream: `version-${n % 3}`,
  revision: Math.floor(n / 3),
  type: 'CommentAdded',
  id: randomUUID(),
  created: new Date(1_900_000_000_000 + n).toISOString(),
  contentType: 'application/json',
  data: Buffer.from(JSON.stringify({ text: `comment ${n}` })),
  metadata: Buffer.from('{}'),
});

async function treeOf(events: readonly LedgerEvent[]): Promise<MemoryTree> {
  const tree = new MemoryTree();
  await tree.add(events.map(hashEvent));
  return tree;
}

async function noteOf(events: readonly LedgerEvent[], by = signer): Promise<string> {
  const root = await rootHash(await treeOf(events), events.length);
  return formatNote(signNote(formatCheckpoint({ origin: by.name, size: events.length, root }), by));
}

type Line = { event: LedgerEvent } | { policy: StreamPolicy } | { absent: object };
/** A bundle whose hashes and checkpoint are of `recorded`, and whose events are `shown`. */
async function bundle(
  recorded: readonly LedgerEvent[],
  shown: readonly Line[],
  { checkpoints = [] as string[], from = 0, hashed = recorded, by = signer } = {},
): Promise<string[]> {
  const tree = await treeOf(hashed);
  const tiles: string[] = [];
  for (let i = 0; i * 256 < hashed.length; i++)
    tiles.push(JSON.stringify({ hashes: tree.tile(0, i)!.toString('base64') }));
  return [
    JSON.stringify({
      format: BUNDLE_FORMAT,
      key: by.verifier.text,
      size: recorded.length,
      from,
      checkpoint: await noteOf(recorded, by),
      checkpoints,
    }),
    ...tiles,
    ...shown.map((line) => JSON.stringify('event' in line ? { event: eventJson(line.event) } : line)),
    JSON.stringify({ end: recorded.length }),
  ];
}

const shown = (events: readonly LedgerEvent[]): Line[] => events.map((event) => ({ event }));
const said = ({ findings }: Report) => findings.map(({ kind, index }: Finding) => [kind, index]);
const known: VerifyOptions = { key: signer.verifier.text };

describe('the canonical bytes of an event', () => {
  it('are label and fields with their lengths: a promise to checkpoints signed long ago', () => {
    const event: LedgerEvent = {
      stream: 'version-1',
      revision: 7,
      type: 'DecisionRecorded',
      id: '6d3f5a17-02c1-4d8d-b1cd-3e7f9aa3a30a',
      created: '2031-05-06T07:08:09.010Z',
      contentType: 'application/json',
      data: Buffer.from('{"verdict":"APPROVED"}'),
      metadata: Buffer.from('{"schemaVersion":1}'),
    };
    expect(leafBytes(event).toString('latin1')).toBe(
      '\0\0\0\x19picturelock-ledger-leaf/1\0\0\0\x09version-1\0\0\0\x017\0\0\0\x10DecisionRecorded' +
        '\0\0\0\x246d3f5a17-02c1-4d8d-b1cd-3e7f9aa3a30a\0\0\0\x182031-05-06T07:08:09.010Z' +
        '\0\0\0\x10application/json\0\0\0\x16{"verdict":"APPROVED"}\0\0\0\x13{"schemaVersion":1}',
    );
    expect(hashEvent(event).toString('hex')).toBe('5b1cfe8e30a81778380c09ea6a0a996265604de7cde60682cb7f455609edb5a4');
  });

  it('differ for any two events that differ', () => {
    const text = fc.string({ unit: 'binary', maxLength: 5 });
    const bytes = fc.uint8Array({ maxLength: 5 }).map((b) => Buffer.from(b));
    const event = fc.record({
      stream: text,
      revision: fc.nat({ max: 12 }),
      type: text,
      id: fc.uuid(),
      created: fc.constant('2031-05-06T07:08:09.010Z'),
      contentType: fc.constantFrom('application/json' as const, 'application/octet-stream' as const),
      data: bytes,
      metadata: bytes,
    });
    fc.assert(
      fc.property(event, event, (a, b) => {
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(leafBytes(a).equals(leafBytes(b))).toBe(same);
        const json = JSON.parse(JSON.stringify(eventJson(a))) as unknown;
        expect(leafBytes(eventOf(eventShape.parse(json)))).toEqual(leafBytes(a));
      }),
    );
  });

  it('are of what the log was told, not of what the server makes', () => {
    expect(isLeaf({ stream: 'version-1', type: 'CommentAdded' })).toBe(true);
    expect(isLeaf({ stream: 'anything', type: 'of another program' })).toBe(true);
    expect(isLeaf({ stream: '$$version-1', type: '$metadata' })).toBe(false);
    expect(isLeaf({ stream: '$ce-version', type: '$>' })).toBe(false);
    expect(isLeaf({ stream: '$settings', type: 'anything' })).toBe(false);
    expect(isLeaf({ stream: 'ledger-1', type: 'CheckpointSigned' })).toBe(false);
  });
});

describe('an unaltered bundle', () => {
  const events = Array.from({ length: 600 }, (_, n) => eventOfNumber(n));

  it('verifies, with the older checkpoints of an auditor', async () => {
    const checkpoints = await Promise.all([0, 1, 255, 256, 600].map((size) => noteOf(events.slice(0, size))));
    const report = await verifyLines(await bundle(events, shown(events)), { ...known, checkpoints });
    expect(report).toMatchObject({ ok: true, size: 600, verified: 600, keyFromBundle: false, findings: [] });
    expect(report.olderCheckpoints).toEqual([0, 1, 255, 256, 600]);
  });

  it('may begin later, and says when nobody vouches for its key', async () => {
    const report = await verifyLines(await bundle(events, shown(events.slice(590)), { from: 590 }));
    expect(report).toMatchObject({ ok: true, verified: 10, keyFromBundle: true });
    const empty = await verifyLines(await bundle([], []), known);
    expect(empty).toMatchObject({ ok: true, size: 0, verified: 0 });
  });

  it('tells what its streams’ rules have removed from what is missing', async () => {
    const policy: StreamPolicy = { stream: 'version-0', maxCount: 198, last: 199 };
    const lines: Line[] = [{ policy }];
    events.forEach((event, index) => {
      const { stream, revision, id } = event;
      const removed = stream === 'version-0' && revision < 2;
      lines.push(removed ? { absent: { index, stream, revision, id } } : { event });
    });
    const report = await verifyLines(await bundle(events, lines), known);
    expect(report).toMatchObject({ ok: true, verified: 598, removedByPolicy: 2 });
    expect(report.removedFrom).toEqual([{ policy, events: 2 }]);
    // The rule allows two to be gone, not three.
    const { stream, revision, id } = events[6]!;
    lines[7] = { absent: { index: 6, stream, revision, id } };
    expect(said(await verifyLines(await bundle(events, lines), known))).toEqual([['missing', 6]]);
  });

  it.each<[string, Partial<StreamPolicy>, boolean]>([
    ['deleted', { deleted: true }, true],
    ['truncated', { truncateBefore: 2 }, true],
    ['truncated before', { truncateBefore: 1 }, false],
    ['of a limited age', { maxAge: 60 }, true],
    ['without a rule', {}, false],
  ])('of a stream that is %s', async (_, rule, ok) => {
    const { stream, revision, id } = events[4]!;
    const lines: Line[] = shown(events);
    lines.splice(4, 1, { policy: { stream, last: 199, ...rule } }, { absent: { index: 4, stream, revision, id } });
    const report = await verifyLines(await bundle(events, lines), known);
    expect(said(report)).toEqual(ok ? [] : [['missing', 4]]);
  });
});

describe('a bundle that was tampered with', () => {
  const events = Array.from({ length: 300 }, (_, n) => eventOfNumber(n));
  const at = fc.nat({ max: events.length - 1 });
  const changed = (event: LedgerEvent, byte: number): LedgerEvent => {
    const data = Buffer.from(event.data);
    data[byte % data.length]! ^= 1;
    return { ...event, data };
  };

  it('one byte changed: names the event', async () => {
    await fc.assert(
      fc.asyncProperty(at, fc.nat(), async (n, byte) => {
        const report = await verifyLines(await bundle(events, shown(events.with(n, changed(events[n]!, byte)))), known);
        expect(said(report)).toEqual([['altered', n]]);
        const { id, stream, revision, type } = events[n]!;
        expect(report.findings[0]!.event).toEqual({ id, stream, revision, type });
        expect(report.verified).toBe(299);
      }),
      { numRuns: 8 },
    );
  });

  it.each(['stream', 'revision', 'type', 'id', 'created', 'contentType', 'metadata'] as const)(
    'another %s: names the event',
    async (field) => {
      const other = {
        stream: 'version-9',
        revision: 99,
        type: 'CommentDeleted',
        id: randomUUID(),
        created: '2031-05-06T07:08:09.010Z',
        contentType: 'application/octet-stream',
        metadata: Buffer.from('{"actor":null}'),
      }[field];
      const forged = { ...events[17]!, [field]: other } as LedgerEvent;
      expect(said(await verifyLines(await bundle(events, shown(events.with(17, forged))), known))).toEqual([
        ['altered', 17],
      ]);
    },
  );

  it('events dropped: names the first', async () => {
    await fc.assert(
      fc.asyncProperty(at, fc.integer({ min: 1, max: 3 }), async (n, count) => {
        const left = events.toSpliced(n, count);
        const gone = events.length - left.length;
        const report = await verifyLines(await bundle(events, shown(left)), known);
        expect(said(report)).toEqual(Array.from({ length: gone }, (_, i) => ['missing', n + i]));
      }),
      { numRuns: 8 },
    );
  });

  it('an event inserted, or shown twice: names it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: events.length }), async (n) => {
        const forged = eventOfNumber(1000);
        const report = await verifyLines(await bundle(events, shown(events.toSpliced(n, 0, forged))), known);
        expect(said(report)).toEqual([['inserted', n]]);
        expect(report.findings[0]!.event?.id).toBe(forged.id);
      }),
      { numRuns: 8 },
    );
    const twice = await verifyLines(await bundle(events, shown(events.toSpliced(9, 0, events[3]!))), known);
    expect(said(twice)).toEqual([['inserted', 3]]);
  });

  it('events exchanged: names the first that is out of place', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 280 }), fc.integer({ min: 1, max: 15 }), async (n, distance) => {
        const exchanged = events.with(n, events[n + distance]!).with(n + distance, events[n]!);
        const report = await verifyLines(await bundle(events, shown(exchanged)), known);
        expect(report.findings[0]).toMatchObject({ index: n, kind: 'moved', event: { id: events[n]!.id } });
        expect(report.findings.every(({ kind }) => kind === 'moved')).toBe(true);
      }),
      { numRuns: 8 },
    );
  });

  it('its hashes changed with it: the signed root tells, older checkpoints narrow it down', async () => {
    const forged = events.with(120, changed(events[120]!, 0));
    const checkpoints = await Promise.all([50, 100, 150, 200].map((size) => noteOf(events.slice(0, size))));
    const lines = await bundle(events, shown(forged), { hashed: forged, checkpoints });
    const report = await verifyLines(lines, known);
    expect(report.findings).toHaveLength(1);
    expect(report.findings[0]).toMatchObject({ kind: 'rewritten', index: 100 });
    expect(report.findings[0]!.message).toContain('from leaf 100 up to 149');
    const alone = await verifyLines(await bundle(events, shown(forged), { hashed: forged }), known);
    expect(alone.findings).toMatchObject([{ kind: 'checkpoint', index: 0 }]);
  });

  it('rewritten and signed anew by who holds the key: the auditor’s older checkpoint tells', async () => {
    const rewritten = events.with(7, changed(events[7]!, 3));
    const lines = await bundle(rewritten, shown(rewritten));
    expect((await verifyLines(lines, known)).ok).toBe(true);
    const kept = await Promise.all([5, 10, 20].map((size) => noteOf(events.slice(0, size))));
    const report = await verifyLines(lines, { ...known, checkpoints: kept });
    expect(said(report)).toEqual([['rewritten', 5]]);
    expect(report.olderCheckpoints).toEqual([5]);
    const cut = await bundle(events.slice(0, 15), shown(events.slice(0, 15)));
    expect(said(await verifyLines(cut, { ...known, checkpoints: kept }))).toEqual([['rewritten', undefined]]);
  });

  it('signed by somebody else', async () => {
    const other = parseSigner(generateSigner('studio.example/ledger'));
    const lines = await bundle(events, shown(events), { by: other });
    expect((await verifyLines(lines)).ok).toBe(true);
    const report = await verifyLines(lines, known);
    expect(report.findings).toMatchObject([{ kind: 'checkpoint' }]);
    expect(report.findings[0]!.message).toContain('not signed');
  });

  it('cut short, or no bundle at all', async () => {
    const lines = await bundle(events, shown(events));
    const kinds = async (of: string[]) => (await verifyLines(of, known)).findings.map(({ kind }) => kind);
    expect(await kinds(lines.slice(0, -1))).toEqual(['malformed']);
    expect(await kinds(lines.slice(0, 2))).toContain('malformed');
    expect(await kinds([])).toEqual(['malformed']);
    expect(await kinds(['{}'])).toEqual(['malformed']);
    expect(await kinds([...lines.slice(0, 9), '{"event":{}}'])).toContain('malformed');
    expect(await kinds(lines.toSpliced(1, 1))).toContain('malformed');
  });
});

describe('a proof', () => {
  it('is read as the example of c2sp.org/tlog-proof, and nothing else is', () => {
    const hash = `${'A'.repeat(43)}=`;
    const text = `c2sp.org/tlog-proof@v1\nextra YQ==\nindex 5\n${hash}\n${hash}\n\nexample.com\n9\n${hash}\n\n— example.com AAAAAAA=\n`;
    const proof = parseProof(text)!;
    expect(proof).toMatchObject({ index: 5, checkpoint: text.slice(text.indexOf('example.com\n9')) });
    expect(proof.proof).toEqual([Buffer.alloc(32), Buffer.alloc(32)]);
    for (const bad of ['', text.replace('@v1', '@v2'), text.replace('index 5', 'index 05'), text.replace('\n\n', '\n')])
      expect(parseProof(bad)).toBeUndefined();
  });

  it('shows one event without the others, and no other event', async () => {
    const events = Array.from({ length: 77 }, (_, n) => eventOfNumber(n));
    const hashes = await inclusionProof(await treeOf(events), 33, 77);
    const proof = (event: LedgerEvent, index = 33) =>
      JSON.stringify(
        {
          format: 'picturelock-ledger-proof/1',
          key: signer.verifier.text,
          event: eventJson(event),
          proof: `c2sp.org/tlog-proof@v1\nindex ${index}\n${hashes.map((h) => `${h.toString('base64')}\n`).join('')}\n${note}`,
        },
        undefined,
        2,
      ).split('\n');
    const note = await noteOf(events);
    const report = await verifyLines(proof(events[33]!), { ...known, checkpoints: [note] });
    expect(report).toMatchObject({ ok: true, what: 'proof', size: 77, verified: 1, olderCheckpoints: [77] });
    expect(said(await verifyLines(proof(events[32]!), known))).toEqual([['altered', 33]]);
    expect(said(await verifyLines(proof(events[33]!, 32), known))).toEqual([['altered', 32]]);
    const elsewhere = { ...known, checkpoints: [await noteOf(events.slice(0, 5))] };
    expect((await verifyLines(proof(events[33]!), elsewhere)).findings).toMatchObject([{ kind: 'checkpoint' }]);
  });
});
