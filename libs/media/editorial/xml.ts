/**
 * Reads the XML that editing tools write: elements, attributes, text, CDATA, comments. A document type is skipped, and its own
 * entities are refused, so nothing is ever fetched or expanded. Errors name line and column.
 */
import { Misread, checkText } from './model.js';

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** Its own text, without that of its children, trimmed. */
  readonly text: string;
  /** Where it begins, for messages. */
  readonly where: string;
}

const MAX_DEPTH = 200;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
const NAME = /[A-Za-z_:][\w:.-]*/y;

/** The root element. Throws {@link Misread}. */
export function parseXml(source: string): XmlElement {
  const text = checkText(source);
  let at = 0;

  const position = (index: number): string => {
    const before = text.slice(0, index);
    return `line ${before.split('\n').length}, column ${index - before.lastIndexOf('\n')}`;
  };
  const wrong = (what: string, index = at): never => {
    throw new Misread(position(index), what);
  };
  const upTo = (end: string, what: string): string => {
    const found = text.indexOf(end, at);
    if (found < 0) return wrong(`${what} does not end`);
    const between = text.slice(at, found);
    at = found + end.length;
    return between;
  };
  const blank = () => {
    while (/\s/.test(text[at] ?? '')) at += 1;
  };
  const name = (): string => {
    NAME.lastIndex = at;
    const match = NAME.exec(text);
    if (!match) return wrong('expected a name');
    at = NAME.lastIndex;
    return match[0];
  };
  const decode = (raw: string, start: number): string =>
    raw.replace(/&([^;&\s]{0,12});?/g, (whole, entity: string, offset: number) => {
      const known = ENTITIES[entity];
      if (known !== undefined && whole.endsWith(';')) return known;
      const number = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(entity);
      const code = number ? Number.parseInt(number[1] ?? number[2]!, number[1] ? 16 : 10) : Number.NaN;
      return code > 0 && code <= 0x10ffff
        ? String.fromCodePoint(code)
        : wrong(`unknown entity ${whole}`, start + offset);
    });
  /** Comments, instructions and the document type. */
  const skip = (): boolean => {
    if (text.startsWith('<!--', at)) {
      at += 4;
      upTo('-->', 'the comment');
    } else if (text.startsWith('<?', at)) {
      at += 2;
      upTo('?>', 'the instruction');
    } else if (text.startsWith('<!DOCTYPE', at)) {
      const from = at;
      if (upTo('>', 'the document type').includes('['))
        return wrong('a document type with declarations is not read', from);
    } else {
      return false;
    }
    return true;
  };
  const attributes = (): Record<string, string> => {
    const found: Record<string, string> = {};
    for (;;) {
      blank();
      if (text[at] === '>' || text[at] === '/' || text[at] === '?') return found;
      const key = name();
      blank();
      if (text[at] !== '=') return wrong(`attribute ${key} has no value`);
      at += 1;
      blank();
      const quote = text[at];
      if (quote !== '"' && quote !== "'") return wrong(`the value of ${key} has no quotes`);
      at += 1;
      const start = at;
      if (key in found) return wrong(`attribute ${key} comes twice`);
      found[key] = decode(upTo(quote, `the value of ${key}`), start);
    }
  };
  const element = (depth: number): XmlElement => {
    const where = position(at);
    if (depth > MAX_DEPTH) return wrong('elements are nested too deeply');
    at += 1;
    const tag = name();
    const attrs = attributes();
    if (text.startsWith('/>', at)) {
      at += 2;
      return { name: tag, attributes: attrs, children: [], text: '', where };
    }
    if (text[at] !== '>') return wrong(`<${tag}> does not end`);
    at += 1;
    const children: XmlElement[] = [];
    let own = '';
    for (;;) {
      const start = at;
      const next = text.indexOf('<', at);
      if (next < 0) return wrong(`<${tag}> of ${where} is not closed`, text.length);
      own += decode(text.slice(at, next), start);
      at = next;
      if (text.startsWith('</', at)) {
        at += 2;
        const closing = name();
        if (closing !== tag) return wrong(`</${closing}> closes <${tag}> of ${where}`, next);
        blank();
        if (text[at] !== '>') return wrong(`</${closing}> does not end`);
        at += 1;
        return { name: tag, attributes: attrs, children, text: own.trim(), where };
      }
      if (text.startsWith('<![CDATA[', at)) {
        at += 9;
        own += upTo(']]>', 'the CDATA section');
      } else if (!skip()) {
        children.push(element(depth + 1));
      }
    }
  };

  blank();
  while (skip()) blank();
  if (text[at] !== '<') wrong('expected an element');
  const root = element(0);
  blank();
  while (skip()) blank();
  if (at < text.length) wrong('something follows the document');
  return root;
}

export function child(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((candidate) => candidate.name === name);
}

export function childrenOf(element: XmlElement, name: string): readonly XmlElement[] {
  return element.children.filter((candidate) => candidate.name === name);
}

/** Text of a child, by a path of names; undefined when there is none or it is empty. */
export function textOf(element: XmlElement, ...path: string[]): string | undefined {
  let found: XmlElement | undefined = element;
  for (const name of path) found = found && child(found, name);
  return found?.text || undefined;
}

/** As {@link textOf}; throws {@link Misread} when it is missing. */
export function needText(element: XmlElement, ...path: string[]): string {
  const text = textOf(element, ...path);
  if (text === undefined) throw new Misread(element.where, `<${element.name}> has no ${path.join('/')}`);
  return text;
}

export function needInteger(element: XmlElement, ...path: string[]): number {
  const text = needText(element, ...path);
  // Hiero writes `12.0`.
  if (!/^-?\d{1,15}(\.0+)?$/.test(text)) {
    throw new Misread(
      element.where,
      `${path.join('/')} of <${element.name}> is not a whole number: “${text.slice(0, 32)}”`,
    );
  }
  return Number(text);
}

/** Text that stands in an element or attribute; characters XML has no place for are left out. */
export function escapeXml(text: string): string {
  return text
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/"/g, '&quot;')
    .replace(/[\n\r\t]/g, (character) => `&#${character.charCodeAt(0)};`);
}

export type XmlNode = {
  readonly tag: string;
  readonly attributes: Attributes;
  readonly content: readonly XmlNode[] | string;
};
type Attributes = Readonly<Record<string, string | number | null | undefined>>;

/** An element to write; attributes that are null or undefined are left out. */
export function node(tag: string, attributes: Attributes, content: readonly XmlNode[] | string | number = []): XmlNode {
  return { tag, attributes, content: typeof content === 'number' ? String(content) : content };
}

export function writeXml(root: XmlNode, documentType: string): string {
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>', `<!DOCTYPE ${documentType}>`];
  const write = ({ tag, attributes, content }: XmlNode, indent: string): void => {
    const attrs = Object.entries(attributes)
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([key, value]) => ` ${key}="${escapeXml(String(value))}"`)
      .join('');
    if (content.length === 0) {
      lines.push(`${indent}<${tag}${attrs}/>`);
    } else if (typeof content === 'string') {
      lines.push(`${indent}<${tag}${attrs}>${escapeXml(content)}</${tag}>`);
    } else {
      lines.push(`${indent}<${tag}${attrs}>`);
      for (const inner of content) write(inner, `${indent}  `);
      lines.push(`${indent}</${tag}>`);
    }
  };
  write(root, '');
  return `${lines.join('\n')}\n`;
}
