const SECRET_KEY =
  /pass(word|phrase)|secret|token|authorization|cookie|api[-_]?key|master[-_]?key|signing[-_]?key|private[-_]?key|credential/i;
/** `scheme://user:password@`, as in every connection string, and `?token=…`-like query parameters. */
const URL_PASSWORD = /([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/@]+@/gi;
const QUERY_SECRET = /([?&](?:token|signature|sig|password|passphrase|key)=)[^\s&#"']+/gi;
const API_KEY = /\b(pl_[a-z]+_[A-Za-z0-9]+)_[A-Za-z0-9_-]+/g;
const BEARER = /\b(Bearer\s+)[\w.~+/=-]+/gi;
const MASK = '[secret]';
const MAX_DEPTH = 8;

/** Masks what looks like a secret inside a text: passwords in URLs, signed query parameters, bearer tokens, API keys. */
export function redactText(text: string): string {
  return text
    .replace(URL_PASSWORD, `$1:${MASK}@`)
    .replace(QUERY_SECRET, `$1${MASK}`)
    .replace(BEARER, `$1${MASK}`)
    .replace(API_KEY, `$1_${MASK}`);
}

/** A copy of a log value without secrets: by key name at any depth, and inside texts. Bytes become their length. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value);
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Error || value instanceof Date) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH) return '[deeper]';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  if ('toJSON' in value && typeof value.toJSON === 'function') return redact(value.toJSON(), depth + 1);
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      SECRET_KEY.test(name) && item != null && typeof item !== 'boolean' ? MASK : redact(item, depth + 1),
    ]),
  );
}
