/** Lists of markers: Avid's text and XML, Resolve's EDL. A marker's place is a timecode. */
import { ok, type Result } from '../result.js';
import { formatTimecode, parseTimecode, type Rate } from '../timecode.js';
import { parseEdl } from './edl.js';
import { Misread, checkText, invalid, reading } from './model.js';
import { childrenOf, escapeXml, parseXml, type XmlElement } from './xml.js';

export interface TimedMarker {
  /** Frames since 00:00:00:00. */
  readonly at: number;
  /** At least 1. */
  readonly frames: number;
  readonly name: string;
  readonly note: string;
  /** Lower case; null when none is told. */
  readonly colour: string | null;
  /** `V1`, `TC1`; null when none is told. */
  readonly track: string | null;
  readonly author: string | null;
}

export interface MarkerList {
  readonly title: string;
  readonly rate: Rate;
  readonly dropFrame: boolean;
  readonly markers: readonly TimedMarker[];
}

/**
 * Media Composer, Markers tool, “Export as text”: a line each of user, timecode, track, colour, comment and, in newer versions,
 * length in frames, separated by tabs.
 */
export function parseAvidMarkers(source: string, rate: Rate): Result<MarkerList> {
  return reading('Avid markers', () => {
    let dropFrame = false;
    const markers = checkText(source)
      .split(/\r\n|\n|\r/)
      .flatMap((line, index): TimedMarker[] => {
        if (!line.trim()) return [];
        const fields = line.split('\t');
        const where = (field: number) => `line ${index + 1}, field ${field + 1}`;
        if (fields.length < 5)
          throw new Misread(`line ${index + 1}`, 'user, timecode, track, colour and comment are expected');
        const at = parseTimecode(fields[1]!, rate);
        if (!at.ok) throw new Misread(where(1), at.error.message);
        dropFrame ||= at.value.dropFrame;
        const length = (fields[5] ?? '').trim() || '1';
        if (!/^\d{1,9}$/.test(length)) throw new Misread(where(5), `“${length.slice(0, 20)}” is no length in frames`);
        return [
          {
            at: at.value.frame,
            frames: Math.max(1, Number(length)),
            ...{ name: '', note: fields[4]!.trim(), colour: fields[3]!.trim().toLowerCase() || null },
            ...{ track: fields[2]!.trim() || null, author: fields[0]!.trim() || null },
          },
        ];
      });
    return { title: '', rate, dropFrame, markers };
  });
}

/** Tabs and line ends inside a field become blanks; name and note become the comment. */
export function writeAvidMarkers(list: MarkerList): string {
  const field = (text: string) => text.replace(/\s+/g, ' ').trim();
  return list.markers
    .map((marker) =>
      [
        field(marker.author ?? '') || 'Picturelock',
        formatTimecode(marker.at, list.rate, { dropFrame: list.dropFrame }),
        field(marker.track ?? '') || 'V1',
        field(marker.colour ?? '') || 'red',
        field([marker.name, marker.note].filter(Boolean).join(': ')),
        String(marker.frames),
      ].join('\t'),
    )
    .map((line) => `${line}\r\n`)
    .join('');
}

/** Media Composer, “Export as XML”: lists of attributes named `_ATN_CRM_…`, one list for each marker. */
export function parseAvidMarkersXml(source: string, rate: Rate): Result<MarkerList> {
  return reading('Avid markers XML', () => {
    let dropFrame = false;
    const markers: TimedMarker[] = [];
    const visit = (element: XmlElement): void => {
      const attributes = attributesOf(element);
      const label = attributes.get('_ATN_CRM_TC');
      if (label !== undefined) {
        const at = parseTimecode(label, rate);
        if (!at.ok) throw new Misread(element.where, at.error.message);
        dropFrame ||= at.value.dropFrame;
        markers.push({
          at: at.value.frame,
          frames: Math.max(1, Number.parseInt(attributes.get('_ATN_CRM_LENGTH') ?? '1', 10) || 1),
          ...{ name: '', note: attributes.get('_ATN_CRM_COM') ?? '' },
          colour: attributes.get('_ATN_CRM_COLOR')?.toLowerCase() ?? null,
          ...{ track: attributes.get('_ATN_CRM_TRK') ?? null, author: attributes.get('_ATN_CRM_USER') ?? null },
        });
      } else {
        element.children.forEach(visit);
      }
    };
    const root = parseXml(source);
    if (root.name !== 'Avid:StreamItems')
      throw new Misread(root.where, `expected <Avid:StreamItems>, found <${root.name}>`);
    visit(root);
    return { title: '', rate, dropFrame, markers };
  });
}

/** Name and value of the attributes a list holds itself. */
function attributesOf(list: XmlElement): Map<string, string> {
  const found = new Map<string, string>();
  for (const item of childrenOf(list, 'ListElem')) {
    const of = (name: string) =>
      childrenOf(item, 'AvProp').find(({ attributes }) => attributes['name']?.endsWith(name))?.text;
    const name = of('ATTB:Name');
    if (name) found.set(name, of('ATTB:StringAttribute') ?? of('ATTB:IntAttribute') ?? '');
  }
  return found;
}

export function writeAvidMarkersXml(list: MarkerList): string {
  const attribute = (name: string, value: string | number) =>
    [
      '        <ListElem>',
      `          <AvProp id="ATTR" name="OMFI:ATTB:Kind" type="int32">${typeof value === 'number' ? 1 : 2}</AvProp>`,
      `          <AvProp id="ATTR" name="OMFI:ATTB:Name" type="string">${name}</AvProp>`,
      typeof value === 'number'
        ? `          <AvProp id="ATTR" name="OMFI:ATTB:IntAttribute" type="int32">${value}</AvProp>`
        : `          <AvProp id="ATTR" name="OMFI:ATTB:StringAttribute" type="string">${escapeXml(value)}</AvProp>`,
      '        </ListElem>',
    ].join('\n');
  const classes = list.markers.map((marker) => {
    const values: [string, string | number][] = [
      ['_ATN_CRM_COLOR', capital(marker.colour ?? 'red')],
      ['_ATN_CRM_USER', marker.author ?? 'Picturelock'],
      ['_ATN_CRM_COM', [marker.name, marker.note].filter(Boolean).join(': ')],
      ['_ATN_CRM_TC', formatTimecode(marker.at, list.rate, { dropFrame: list.dropFrame })],
      ['_ATN_CRM_TRK', marker.track ?? 'V1'],
      ['_ATN_CRM_LENGTH', marker.frames],
    ];
    return [
      '    <AvClass id="ATTR">',
      `      <AvProp id="ATTR" name="__OMFI:ATTR:NumItems" type="int32">${values.length}</AvProp>`,
      '      <List id="OMFI:ATTR:AttrRefs">',
      ...values.map(([name, value]) => attribute(name, value)),
      '      </List>',
      '    </AvClass>',
    ].join('\n');
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE Avid:StreamItems SYSTEM "AvidSettingsFile.dtd">',
    '<Avid:StreamItems xmlns:Avid="http://www.avid.com">',
    '  <Avid:XMLFileData>',
    '    <AvProp name="DomainMagic" type="string">Domain</AvProp>',
    '    <AvProp name="DomainKey" type="string">58424a44</AvProp>',
    ...classes,
    '  </Avid:XMLFileData>',
    '</Avid:StreamItems>',
    '',
  ].join('\n');
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

/** Resolve, “Timeline markers to EDL”: an event for each, and a line `note |C:ResolveColorBlue |M:name |D:frames`. */
export function parseResolveMarkers(source: string, rate: Rate): Result<MarkerList> {
  const edl = parseEdl(source, rate);
  if (!edl.ok) return edl;
  const markers: TimedMarker[] = [];
  for (const event of edl.value.events) {
    const text = event.comments.find((line) => line.includes('|C:') || line.includes('|M:') || line.includes('|D:'));
    if (text === undefined)
      return invalid('Resolve markers', `line ${event.line}`, 'the event has no line with |C:, |M: and |D:');
    const part = (letter: string) => new RegExp(`\\|${letter}:([^|]*)`).exec(text)?.[1]?.trim() ?? '';
    const length = part('D') || '1';
    if (!/^\d{1,9}$/.test(length))
      return invalid('Resolve markers', `line ${event.line}`, `“${length}” is no length in frames`);
    markers.push({
      at: event.recordIn,
      frames: Math.max(1, Number(length)),
      ...{ name: part('M'), note: text.slice(0, text.indexOf('|')).trim() },
      colour:
        part('C')
          .replace(/^ResolveColor/, '')
          .toLowerCase() || null,
      ...{ track: null, author: null },
    });
  }
  const dropFrame = edl.value.events[0]?.recordDropFrame ?? false;
  return ok({ title: edl.value.title, rate, dropFrame, markers });
}

/** Bars and line ends in words become blanks: the format has no other way. */
export function writeResolveMarkers(list: MarkerList): string {
  const words = (text: string) => text.replace(/[|\s]+/g, ' ').trim();
  const lines = [`TITLE: ${words(list.title)}`, `FCM: ${list.dropFrame ? 'DROP FRAME' : 'NON-DROP FRAME'}`, ''];
  for (const [index, marker] of list.markers.entries()) {
    const [from, to] = [marker.at, marker.at + 1].map((at) =>
      formatTimecode(at, list.rate, { dropFrame: list.dropFrame }),
    );
    lines.push(
      `${String(index + 1).padStart(3, '0')}  001      V     C        ${from} ${to} ${from} ${to}  `,
      ` ${words(marker.note)} |C:ResolveColor${capital(words(marker.colour ?? 'blue'))} |M:${words(marker.name)} |D:${marker.frames}`,
      '',
    );
  }
  return lines.join('\r\n');
}
