/** Avid Log Exchange: tab-delimited headings, columns and rows (Avid, “Avid Log Specifications”). */
import { type Result } from '../result.js';
import { parseRate, parseTimecode, type Rate } from '../timecode.js';
import { Misread, checkText, invalid, reading } from './model.js';

export interface Ale {
  /** `FIELD_DELIM`, `VIDEO_FORMAT`, `AUDIO_FORMAT`, `FPS` and others, in their order. */
  readonly headings: readonly (readonly [name: string, value: string])[];
  readonly columns: readonly string[];
  /** One text for each column. */
  readonly rows: readonly (readonly string[])[];
}

/** EDITORIAL_INVALID names the line and the field. */
export function parseAle(source: string): Result<Ale> {
  return reading('ALE', () => {
    const headings: [string, string][] = [];
    const rows: string[][] = [];
    let columns: string[] | null = null;
    let section: 'none' | 'Heading' | 'Column' | 'Data' = 'none';
    for (const [index, line] of checkText(source)
      .split(/\r\n|\n|\r/)
      .entries()) {
      const where = `line ${index + 1}`;
      const word = line.trim();
      if (word === 'Heading' || word === 'Column' || word === 'Data') {
        if (word === 'Data' && !columns) throw new Misread(where, 'Data comes before Column');
        section = word;
      } else if (!word) {
        continue;
      } else if (section === 'Heading') {
        const tab = line.indexOf('\t');
        if (tab < 0) throw new Misread(where, 'a heading is a name, a tab and a value');
        headings.push([line.slice(0, tab).trim(), line.slice(tab + 1).trim()]);
        const [name, value] = headings.at(-1)!;
        if (name === 'FIELD_DELIM' && value !== 'TABS')
          throw new Misread(where, `fields separated by ${value} are not read`);
      } else if (section === 'Column') {
        if (columns) throw new Misread(where, 'the columns are named twice');
        columns = trimLast(line.split('\t').map((name) => name.trim()));
        const twice = columns.find((name, at) => name === '' || columns!.indexOf(name) !== at);
        if (twice !== undefined)
          throw new Misread(
            `${where}, field ${columns.lastIndexOf(twice) + 1}`,
            `column “${twice}” is empty or comes twice`,
          );
      } else if (section === 'Data') {
        const fields = line.split('\t').map((field) => field.trim());
        if (fields.slice(columns!.length).some(Boolean)) {
          throw new Misread(
            `${where}, field ${columns!.length + 1}`,
            `more fields than the ${columns!.length} columns`,
          );
        }
        rows.push(columns!.map((_, at) => fields[at] ?? ''));
      } else {
        throw new Misread(where, 'expected Heading');
      }
    }
    if (!columns) throw new Misread('', 'there is no Column section');
    return { headings, columns, rows };
  });
}

function trimLast(fields: string[]): string[] {
  while (fields.length > 1 && fields.at(-1) === '') fields.pop();
  return fields;
}

/** EDITORIAL_INVALID when a row has not one field for each column. Tabs and line ends inside fields become blanks. */
export function writeAle(ale: Ale): Result<string> {
  const field = (text: string) => text.replace(/[\t\r\n]+/g, ' ').trim();
  const wrong = ale.rows.findIndex((row) => row.length !== ale.columns.length);
  if (wrong >= 0)
    return invalid('ALE', `row ${wrong + 1}`, `it has not one field for each of the ${ale.columns.length} columns`);
  const lines = [
    'Heading',
    ...ale.headings.map(([name, value]) => `${field(name)}\t${field(value)}`),
    '',
    'Column',
    ale.columns.map(field).join('\t'),
    '',
    'Data',
    ...ale.rows.map((row) => row.map(field).join('\t')),
  ];
  return { ok: true, value: `${lines.join('\r\n')}\r\n` };
}

/** A clip as Avid relinks it: by name, tape and timecode. */
export interface AleClip {
  readonly name: string;
  readonly tape: string;
  /** Frames since 00:00:00:00; `end` is the first frame after. */
  readonly start: number;
  readonly end: number;
  readonly dropFrame: boolean;
  /** All columns by name. */
  readonly values: Readonly<Record<string, string>>;
}

/** The clips of a log, at the rate of its FPS heading. EDITORIAL_INVALID for missing columns or labels that are none. */
export function aleClips(ale: Ale): Result<{ readonly rate: Rate; readonly clips: readonly AleClip[] }> {
  const fps = ale.headings.find(([name]) => name === 'FPS')?.[1];
  const rate = parseRate(fps ?? '');
  if (!rate.ok) return invalid('ALE', 'heading FPS', fps ? rate.error.message : 'it is missing');
  const clips: AleClip[] = [];
  for (const [row, fields] of ale.rows.entries()) {
    const values = Object.fromEntries(ale.columns.map((column, index) => [column, fields[index] ?? '']));
    const labels = [];
    for (const column of ['Start', 'End']) {
      const label = parseTimecode(values[column] ?? '', rate.value);
      if (!label.ok) return invalid('ALE', `row ${row + 1}, column ${column}`, label.error.message);
      labels.push(label.value);
    }
    const [start, end] = labels as [(typeof labels)[0], (typeof labels)[0]];
    clips.push({
      ...{ name: values['Name'] ?? '', tape: values['Tape'] ?? values['Source File'] ?? '' },
      ...{ start: start!.frame, end: end!.frame, dropFrame: start!.dropFrame, values },
    });
  }
  return { ok: true, value: { rate: rate.value, clips } };
}
