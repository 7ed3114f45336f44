import fc from 'fast-check';
import { unwrap, type Result } from '../result.js';
import { RATES, parseTimecode, supportsDropFrame, type Rate } from '../timecode.js';
import {
  edlToTimeline,
  parseAle,
  parseAvidMarkers,
  parseAvidMarkersXml,
  parseEdl,
  parseFcp7,
  parseFcpxml,
  parseOtio,
  parseResolveMarkers,
  parseXml,
  placedClips,
  timelineToEdl,
  writeAle,
  writeAvidMarkers,
  writeAvidMarkersXml,
  writeEdl,
  writeFcp7,
  writeFcpxml,
  writeOtio,
  writeResolveMarkers,
  aleClips,
  type Clip,
  type Gap,
  type MarkerList,
  type Timeline,
} from './index.js';

const frame = (text: string, rate: Rate) => unwrap(parseTimecode(text, rate)).frame;

// As Avid and Resolve write it.
const EDL = `TITLE:   REEL 1 LOCKED
FCM: NON-DROP FRAME

001  A001C002 V     C        01:00:10:00 01:00:12:00 10:00:00:00 10:00:02:00
* FROM CLIP NAME:  SC12A-T3
* SOURCE FILE: A001C002_210503_R1AB.mov
* LOC: 10:00:01:00 RED     replace the sky
* ASC_SOP (1.0 1.0 1.0)(0.0 0.0 0.0)(1.0 1.0 1.0)
002  A001C002 V     C        01:00:12:00 01:00:12:00 10:00:02:00 10:00:02:00
002  B007C001 V     D    024 05:00:00:00 05:00:03:00 10:00:02:00 10:00:05:00
EFFECTS NAME IS CROSS DISSOLVE
* FROM CLIP NAME:  SC12A-T3
* TO CLIP NAME:  SC13-T1
003  C003C009 V     C        00:59:00:00 00:59:04:00 10:00:06:00 10:00:08:00
M2   C003C009       048.0                00:59:00:00
004  D004     AA/V  C        02:00:00:00 02:00:01:00 10:00:08:00 10:00:09:00
`;

describe('CMX 3600', () => {
  test('events, dissolve, speed, comments, locators', () => {
    const edl = unwrap(parseEdl(EDL, RATES['24']));
    expect(edl.title).toBe('REEL 1 LOCKED');
    expect(edl.events).toHaveLength(5);
    expect(edl.events[0]).toMatchObject({
      reel: 'A001C002',
      clipName: 'SC12A-T3',
      sourceFile: 'A001C002_210503_R1AB.mov',
      locators: [{ at: frame('10:00:01:00', RATES['24']), colour: 'red', note: 'replace the sky' }],
      comments: ['ASC_SOP (1.0 1.0 1.0)(0.0 0.0 0.0)(1.0 1.0 1.0)'],
    });
    expect(edl.events[2]).toMatchObject({ transition: { kind: 'DISSOLVE', frames: 24 }, clipName: 'SC13-T1' });
    expect(edl.events[3]!.speed).toEqual({ num: 2, den: 1 });
    const timeline = unwrap(edlToTimeline(edl));
    expect(
      timeline.tracks.map(({ kind, items }) => [kind, items.map(({ kind: item, frames }) => `${item} ${frames}`)]),
    ).toEqual([
      ['VIDEO', ['CLIP 48', 'CLIP 72', 'GAP 24', 'CLIP 48', 'CLIP 24']],
      ['AUDIO', ['GAP 192', 'CLIP 24']],
      ['AUDIO', ['GAP 192', 'CLIP 24']],
    ]);
    expect(timeline.start).toBe(frame('10:00:00:00', RATES['24']));
  });

  test('drop-frame lists, said by FCM alone or by the label', () => {
    const list = (mark: string) =>
      `TITLE: DF\nFCM: DROP FRAME\n001  AX       V     C        00:00:59${mark}20 00:01:00${mark}10 01:00:59${mark}20 01:01:00${mark}10\n`;
    for (const mark of [':', ';']) {
      const [event] = unwrap(parseEdl(list(mark), RATES['29.97'])).events;
      expect(event).toMatchObject({ recordDropFrame: true, sourceIn: 1790, sourceOut: 1808 });
    }
    const nondrop = list(':').replace('DROP FRAME', 'NON-DROP FRAME');
    expect(unwrap(parseEdl(nondrop, RATES['29.97'])).events[0]).toMatchObject({
      recordDropFrame: false,
      sourceOut: 1810,
    });
  });

  test.each([
    ['001  AX V C 01:00:00:00 01:00:01:00 01:00:00:00', 'line 1: not an event'],
    [
      '\n001  AX V C 01:00:00:00 01:00:01:00 01:00:00:24 01:00:01:24',
      'line 2, column 37: “01:00:00:24” is not a timecode',
    ],
    ['FCM: DROP FRAME', 'line 1: the rate has no drop-frame'],
    ['FCM: SOMETIMES', 'line 1: FCM is neither'],
    ['001  AX V D 01:00:00:00 01:00:01:00 01:00:00:00 01:00:01:00', 'line 1, column 11: D needs its length'],
    ['001  AX V C 01:00:00:00 01:00:02:00 01:00:00:00 01:00:01:00', 'line 1: 48 frames of source for 24 of record'],
    ['001  AX V C 01:00:00:00 01:00:01:00 01:00:01:00 01:00:00:00', 'line 1: the record out point'],
    ['M2 AX 024.0 01:00:00:00', 'line 1: M2 needs'],
    ['hello', 'line 1: what is “hello”?'],
  ])('%s', (text, message) => {
    expect(parseEdl(text, RATES['24'])).toMatchObject({
      error: { code: 'EDITORIAL_INVALID', message: expect.stringContaining(message) },
    });
  });

  test('overlap and unknown channels are refused; a reel too long for the list too', () => {
    const twice = `001  AX V C 01:00:00:00 01:00:01:00 01:00:00:00 01:00:01:00\n002  AX V C 01:00:00:00 01:00:01:00 01:00:00:12 01:00:01:12\n`;
    expect(edlToTimeline(unwrap(parseEdl(twice, RATES['24'])))).toMatchObject({
      error: { message: expect.stringContaining('line 2') },
    });
    const odd = `001  AX Q9 C 01:00:00:00 01:00:01:00 01:00:00:00 01:00:01:00\n`;
    expect(edlToTimeline(unwrap(parseEdl(odd, RATES['24'])))).toMatchObject({
      error: { message: expect.stringContaining('Q9') },
    });
    const edl = unwrap(parseEdl(EDL, RATES['24']));
    const long = { ...edl, events: [{ ...edl.events[0]!, reel: 'A001C002_210503' }] };
    expect(writeEdl(long, { reelLength: 8 })).toMatchObject({ error: { code: 'EDITORIAL_INVALID' } });
    expect(writeEdl(long).ok).toBe(true);
  });
});

// Timelines ------------------------------------------------------------------------------------------------------------------

const word = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9 _.-]{0,14}[A-Za-z0-9]$/).map((text) => text.replace(/ +/g, ' '));
const words = fc.stringMatching(/^[A-Za-z0-9][ -~éß中]{0,20}[A-Za-z0-9]$/).map((text) => text.replace(/ +/g, ' '));
const reel = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,7}$/);

/** What a format can say: `plain` is what CMX knows too. */
function timelines(plain: boolean): fc.Arbitrary<Timeline> {
  return fc
    .record({
      rate: fc.constantFrom(...Object.values(RATES)),
      drop: fc.boolean(),
      name: plain ? word : words,
      start: fc.nat(80_000),
    })
    .chain(({ rate, drop, name, start }) => {
      const dropFrame = drop && supportsDropFrame(rate);
      const clip = fc
        .record({
          frames: fc.integer({ min: 30, max: 400 }),
          sourceStart: fc.integer({ min: 1000, max: 50_000 }),
          name: plain ? word : words,
          reel,
          url: fc.option(word.map((file) => (plain ? file : `file:///media/${file}.mov`))),
          speed: fc.constantFrom({ num: 1, den: 1 }, { num: 2, den: 1 }, { num: 1, den: 2 }, { num: -1, den: 1 }),
          dissolve: fc.option(fc.integer({ min: 1, max: 20 })),
          markers: fc.array(fc.record({ at: fc.nat(29), note: words }), { maxLength: 2 }),
        })
        .map(({ dissolve, markers, url, ...rest }): Clip => {
          const media = {
            name: rest.name,
            reel: rest.reel,
            url,
            rate,
            start: plain ? null : 1000,
            frames: plain ? null : 90_000,
          };
          return {
            kind: 'CLIP',
            name: rest.name,
            media,
            ...{ sourceStart: rest.sourceStart, frames: rest.frames, speed: rest.speed, notes: [] },
            transition: dissolve === null ? null : { kind: 'DISSOLVE', code: null, frames: dissolve },
            markers: markers.map(({ at, note }) => {
              return {
                at,
                frames: 1,
                name: plain ? '' : 'M',
                note: plain ? note.replace(/[^\x20-\x7e]/g, 'x') : note,
                colour: plain ? 'red' : null,
              };
            }),
          };
        });
      const track = fc
        .array(fc.tuple(clip, fc.option(fc.integer({ min: 1, max: 50 }))), { minLength: 1, maxLength: 4 })
        .map((list) =>
          // After a gap a clip comes by a cut.
          list.flatMap(([value, gap], index): (Clip | Gap)[] => {
            const cut = index === 0 || gap !== null;
            return [
              ...(gap && index > 0 ? [{ kind: 'GAP' as const, frames: gap }] : []),
              cut ? { ...value, transition: null } : value,
            ];
          }),
        );
      return fc.tuple(track, fc.option(track)).map(([video, audio]): Timeline => {
        const tracks: Timeline['tracks'] = [
          { kind: 'VIDEO', items: video },
          ...(audio
            ? [
                {
                  kind: 'AUDIO' as const,
                  items: audio.map((item) => (item.kind === 'CLIP' ? { ...item, markers: [] } : item)),
                },
              ]
            : []),
        ];
        return { name, rate, dropFrame, start, tracks, markers: [] };
      });
    });
}

/** Speeds and lengths of CMX make whole frames of source only for some. */
const forEdl = (timeline: Timeline): Timeline => ({
  ...timeline,
  tracks: timeline.tracks.map((track) => ({
    ...track,
    items: track.items.map((item) => (item.kind === 'CLIP' ? { ...item, frames: 2 * item.frames } : item)),
  })),
});

/** What comes back of a timeline written and read. */
const roundTrips: [string, boolean, (timeline: Timeline) => Result<Timeline>][] = [
  [
    'CMX 3600',
    true,
    (timeline) => {
      const text = writeEdl(timelineToEdl(timeline));
      if (!text.ok) return text;
      const edl = parseEdl(text.value, timeline.rate);
      return edl.ok ? edlToTimeline(edl.value) : edl;
    },
  ],
  ['FCP7 XML', false, (timeline) => parseFcp7(writeFcp7(timeline))],
  ['FCPXML', false, (timeline) => parseFcpxml(writeFcpxml(timeline))],
  ['OpenTimelineIO', false, (timeline) => parseOtio(writeOtio(timeline))],
];

test.each(roundTrips)('%s: what is written is read back the same', (format, plain, again) => {
  fc.assert(
    fc.property(timelines(plain).map(plain ? forEdl : (timeline) => timeline), (timeline) => {
      const back = unwrap(again(timeline));
      // FCPXML's storyline is as long as the longest track: a gap may follow.
      const trimmed = format === 'FCPXML' ? { ...back, tracks: back.tracks.map(withoutLastGap) } : back;
      expect(trimmed).toEqual(
        format === 'FCPXML' ? { ...timeline, tracks: timeline.tracks.map(connectedByCuts) } : timeline,
      );
    }),
    { numRuns: 60 },
  );
});

/** Clips connected to a storyline have no transitions. */
function connectedByCuts(track: Timeline['tracks'][number], index: number): Timeline['tracks'][number] {
  const cut = (item: Clip | Gap) => (item.kind === 'CLIP' ? { ...item, transition: null } : item);
  return index === 0 ? track : { ...track, items: track.items.map(cut) };
}

function withoutLastGap(track: Timeline['tracks'][number]): Timeline['tracks'][number] {
  return track.items.at(-1)?.kind === 'GAP' ? { ...track, items: track.items.slice(0, -1) } : track;
}

// Shapes as the tools write them -------------------------------------------------------------------------------------------

test('FCP7 XML as Premiere writes it: file named once, centred dissolve, NTSC rate, markers', () => {
  const file = `<file id="file-1"><name>A001.mov</name><pathurl>file://localhost/A001.mov</pathurl><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate>
    <duration>2400</duration><timecode><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate><string>01:00:00:00</string><frame>86400</frame>
    <displayformat>NDF</displayformat><reel><name>A001</name></reel></timecode></file>`;
  const clip = (name: string, start: number, end: number, from: number, to: number, media: string) =>
    `<clipitem id="${name}"><name>${name}</name><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate><start>${start}</start><end>${end}</end>
     <in>${from}</in><out>${to}</out>${media}</clipitem>`;
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE xmeml>
<xmeml version="4"><sequence id="s"><name>Cut &amp; paste</name><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate>
<timecode><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate><string>00:59:50:00</string><frame>86160</frame><displayformat>NDF</displayformat></timecode>
<media><video><format/><track>${clip('one', 0, -1, 10, 64, file)}
<transitionitem><start>48</start><end>60</end><alignment>center</alignment><rate><timebase>24</timebase></rate><effect><name>Cross Dissolve</name></effect></transitionitem>
${clip('two', -1, 100, 200, 252, '<file id="file-1"/>')}</track></video></media>
<marker><comment>here</comment><name>look</name><in>12</in><out>-1</out></marker></sequence></xmeml>`;
  const timeline = unwrap(parseFcp7(xml));
  expect(timeline).toMatchObject({
    name: 'Cut & paste',
    rate: RATES['23.976'],
    start: 86_160,
    markers: [{ at: 12, frames: 1, note: 'here' }],
  });
  expect(timeline.tracks[0]!.items).toMatchObject([
    { name: 'one', frames: 48, sourceStart: 86_410, transition: null, media: { reel: 'A001' } },
    {
      name: 'two',
      frames: 52,
      sourceStart: 86_600,
      transition: { kind: 'DISSOLVE', frames: 12 },
      media: { name: 'A001.mov' },
    },
  ]);
});

test('FCPXML as Final Cut Pro writes it: centred transition, connected clip, gap, retime', () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE fcpxml>
<fcpxml version="1.9"><resources>
<format id="r1" name="FFVideoFormat1080p25" frameDuration="100/2500s"/>
<asset id="r2" name="B" start="3600s" duration="100s" hasVideo="1" format="r1"><media-rep kind="original-media" src="file:///B.mov"/></asset>
</resources><library><event name="E"><project name="P"><sequence format="r1" duration="20s" tcStart="36000s" tcFormat="NDF"><spine>
<asset-clip ref="r2" offset="0s" name="one" start="3610s" duration="4s"><asset-clip ref="r2" lane="1" offset="3611s" name="over" start="3600s" duration="1s"/></asset-clip>
<transition name="Cross Dissolve" offset="3600/1000s" duration="20/25s"/>
<asset-clip ref="r2" offset="4s" name="two" start="3620s" duration="5s"><marker start="3621s" duration="1/25s" value="hit"/></asset-clip>
<gap name="Gap" offset="9s" duration="1s"/>
<asset-clip ref="r2" offset="10s" name="fast" start="3600s" duration="2s"><timeMap><timept time="3600s" value="3600s"/><timept time="3602s" value="3604s"/></timeMap></asset-clip>
</spine></sequence></project></event></library></fcpxml>`;
  const timeline = unwrap(parseFcpxml(xml));
  expect(timeline).toMatchObject({ name: 'P', rate: RATES['25'], start: 900_000 });
  expect(timeline.tracks[0]!.items).toMatchObject([
    { name: 'one', frames: 90, sourceStart: 90_250 },
    { name: 'two', frames: 135, sourceStart: 90_490, transition: { frames: 20 }, markers: [{ at: 25, name: 'hit' }] },
    { kind: 'GAP', frames: 25 },
    { name: 'fast', frames: 50, speed: { num: 2, den: 1 } },
  ]);
  expect(placedClips(timeline.tracks[1]!)).toMatchObject([{ at: 25, clip: { name: 'over', frames: 25 } }]);
});

test.each([
  [
    'FCP7',
    () => parseFcp7('<xmeml>\n <sequence>\n</xmeml>'),
    'line 3, column 1: </xmeml> closes <sequence> of line 2, column 2',
  ],
  ['FCP7', () => parseFcp7('<fcpxml/>'), 'expected <xmeml>'],
  ['FCPXML', () => parseFcpxml('<fcpxml a="1" a="2"/>'), 'attribute a comes twice'],
  ['FCPXML', () => parseFcpxml('<fcpxml>&lol;</fcpxml>'), 'column 9: unknown entity &lol;'],
  ['FCPXML', () => parseFcpxml('<!DOCTYPE x [<!ENTITY a "b">]><fcpxml/>'), 'a document type with declarations'],
  ['OTIO', () => parseOtio('{\n "a": }'), 'line 2, column'],
  [
    'OTIO',
    () =>
      parseOtio(
        '{"OTIO_SCHEMA":"Timeline.1","tracks":{"OTIO_SCHEMA":"Stack.1","children":[{"OTIO_SCHEMA":"Clip.2"}]}}',
      ),
    'field tracks.children.0',
  ],
] as [string, () => Result<Timeline>, string][])('%s: %#', (_format, read, message) => {
  expect(read()).toMatchObject({ error: { code: 'EDITORIAL_INVALID', message: expect.stringContaining(message) } });
});

test('whatever is read, it is a timeline or a refusal, never a crash', () => {
  const seeds = [
    EDL,
    writeFcp7(unwrap(edlToTimeline(unwrap(parseEdl(EDL, RATES['24']))))),
    writeOtio(unwrap(edlToTimeline(unwrap(parseEdl(EDL, RATES['24']))))),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.nat(),
      fc.nat(200),
      fc.string({ maxLength: 8 }),
      (seed, at, cut, insert) => {
        const place = at % seed.length;
        const text = seed.slice(0, place) + insert + seed.slice(place + cut);
        for (const read of [(t: string) => parseEdl(t, RATES['24']), parseFcp7, parseFcpxml, parseOtio, parseAle]) {
          const result = read(text);
          if (!result.ok) expect(result.error.code).toBe('EDITORIAL_INVALID');
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(() => parseXml('<a>'.repeat(5000))).toThrow('nested too deeply');
});

// Markers and logs -----------------------------------------------------------------------------------------------------------

const lists = (named: boolean): fc.Arbitrary<MarkerList> =>
  fc.constantFrom(...Object.values(RATES)).chain((rate) =>
    fc
      .array(
        fc.record({
          at: fc.nat(80_000),
          frames: fc.integer({ min: 1, max: 99 }),
          note: word,
          colour: fc.constantFrom('red', 'green', 'blue'),
        }),
        { minLength: 1, maxLength: 5 },
      )
      .map((markers) => ({
        ...{ title: named ? 'List' : '', rate, dropFrame: supportsDropFrame(rate) },
        markers: markers.map((marker) => ({
          ...marker,
          name: named ? 'M' : '',
          track: named ? null : 'V2',
          author: named ? null : 'ann',
        })),
      })),
  );

test.each([
  ['Avid text', false, (list: MarkerList) => parseAvidMarkers(writeAvidMarkers(list), list.rate)],
  ['Avid XML', false, (list: MarkerList) => parseAvidMarkersXml(writeAvidMarkersXml(list), list.rate)],
  ['Resolve EDL', true, (list: MarkerList) => parseResolveMarkers(writeResolveMarkers(list), list.rate)],
] as [string, boolean, (list: MarkerList) => Result<MarkerList>][])(
  '%s: markers come back the same',
  (_format, named, again) => {
    fc.assert(
      fc.property(lists(named), (list) => expect(unwrap(again(list))).toEqual(list)),
      { numRuns: 60 },
    );
  },
);

test('markers as the tools write them, and what is wrong with them', () => {
  expect(unwrap(parseAvidMarkers('ann\t01:00:10:05\tV1\tred\tSky too bright\t1\r\n', RATES['24'])).markers).toEqual([
    { at: 86_645, frames: 1, name: '', note: 'Sky too bright', colour: 'red', track: 'V1', author: 'ann' },
  ]);
  const resolve = `TITLE: Timeline 1\nFCM: NON-DROP FRAME\n\n001  001      V     C        01:00:05:00 01:00:05:01 01:00:05:00 01:00:05:01  \n look here |C:ResolveColorBlue |M:Marker 1 |D:24\n`;
  expect(unwrap(parseResolveMarkers(resolve, RATES['25'])).markers).toMatchObject([
    { at: 90_125, frames: 24, name: 'Marker 1', note: 'look here', colour: 'blue' },
  ]);
  expect(parseAvidMarkers('ann\t01:00:10:24\tV1\tred\tx', RATES['24'])).toMatchObject({
    error: { message: expect.stringContaining('line 1, field 2') },
  });
  expect(parseResolveMarkers(resolve.replace(/\n look.*\n/, '\n'), RATES['25'])).toMatchObject({
    error: { message: expect.stringContaining('line 4') },
  });
});

const ALE =
  'Heading\r\nFIELD_DELIM\tTABS\r\nVIDEO_FORMAT\t1080\r\nAUDIO_FORMAT\t48khz\r\nFPS\t23.976\r\n\r\nColumn\r\nName\tTracks\tStart\tEnd\tTape\t\r\n\r\nData\r\nSC1-T1\tVA1A2\t01:00:00:00\t01:00:10:00\tA001\t\r\n';

test('an Avid log: columns, rows, clips, and back', () => {
  const ale = unwrap(parseAle(ALE));
  expect(unwrap(aleClips(ale))).toMatchObject({
    rate: RATES['23.976'],
    clips: [{ name: 'SC1-T1', tape: 'A001', start: 86_400, end: 86_640, values: { Tracks: 'VA1A2' } }],
  });
  expect(unwrap(parseAle(unwrap(writeAle(ale))))).toEqual(ale);
  const cell = word;
  fc.assert(
    fc.property(
      fc
        .uniqueArray(cell, { minLength: 1, maxLength: 6 })
        .filter((names) => !names.some((name) => /^(Heading|Column|Data)$/.test(name))),
      fc.array(fc.array(cell, { minLength: 6, maxLength: 6 }), { maxLength: 5 }),
      (columns, cells) => {
        const log = {
          headings: [['FIELD_DELIM', 'TABS'] as const],
          columns,
          rows: cells.map((row) => row.slice(0, columns.length)),
        };
        expect(unwrap(parseAle(unwrap(writeAle(log))))).toEqual(log);
      },
    ),
    { numRuns: 50 },
  );
});

test.each([
  ['Column\nName\tName\n', 'line 2, field 2'],
  ['Data\nx\n', 'line 1: Data comes before Column'],
  ['Heading\nFIELD_DELIM COMMAS\n', 'line 2'],
  ['Heading\nFIELD_DELIM\tCOMMAS\n', 'line 2: fields separated by COMMAS'],
  ['Column\nName\n\nData\na\tb\n', 'line 5, field 2: more fields'],
  ['', 'no Column section'],
  ['hello', 'line 1: expected Heading'],
])('ALE %#', (text, message) => {
  expect(parseAle(text)).toMatchObject({
    error: { code: 'EDITORIAL_INVALID', message: expect.stringContaining(message) },
  });
});
