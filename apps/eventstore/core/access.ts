/** Who may do what to a stream, as the real server's access control lists decide it. Pure. */
import { parseAcl, type StreamAcl } from './acl.js';
import { baseStreamOf, isMetadataStream } from './stream-metadata.js';

/** `system` is whoever calls a server without authentication; `anonymous` has sent no credentials. */
export type Principal = { name: string; groups: readonly string[] } | 'anonymous' | 'system';

/** Data of the last event of `$settings`. */
export type SystemSettings = { userStreamAcl?: StreamAcl; systemStreamAcl?: StreamAcl };

export type StreamAction = 'read' | 'write' | 'delete';

export const SETTINGS_STREAM = '$settings';
export const ADMINS = '$admins';
export const OPERATIONS = '$ops';
/** The role everybody who is signed in has. */
const EVERYBODY = '$all';

export function isAdmin(principal: Principal): boolean {
  if (typeof principal === 'string') return principal === 'system';
  return principal.name === 'admin' || principal.groups.includes(ADMINS);
}

export function isOperator(principal: Principal): boolean {
  if (isAdmin(principal)) return true;
  return typeof principal !== 'string' && (principal.name === 'ops' || principal.groups.includes(OPERATIONS));
}

/** The list that decides over a stream: of a metadata stream, that of the stream it belongs to. */
export function mayAccess(
  principal: Principal,
  action: StreamAction,
  stream: string,
  acl: StreamAcl | undefined,
  settings: SystemSettings,
): boolean {
  if (isNeverAllowed(action, stream)) return false;
  if (isAdmin(principal)) return true;
  if (typeof principal === 'string') return false;
  const right = isMetadataStream(stream) ? (action === 'read' ? 'metadataRead' : 'metadataWrite') : action;
  const isSystemStream = baseStreamOf(stream).startsWith('$');
  const fallback = isSystemStream ? settings.systemStreamAcl : settings.userStreamAcl;
  const roles = acl?.[right] ?? fallback?.[right] ?? [isSystemStream ? ADMINS : EVERYBODY];
  return roles.some((role) => role === EVERYBODY || role === principal.name || principal.groups.includes(role));
}

/** Refused whoever asks. */
export function isNeverAllowed(action: StreamAction, stream: string): boolean {
  if (stream === '$all') return action !== 'read';
  return action === 'delete' && isMetadataStream(stream);
}

export function parseSystemSettings(data: Buffer): SystemSettings {
  try {
    const raw = JSON.parse(data.toString('utf8')) as Record<string, unknown>;
    const userStreamAcl = parseAcl(raw['$userStreamAcl']);
    const systemStreamAcl = parseAcl(raw['$systemStreamAcl']);
    return { ...(userStreamAcl && { userStreamAcl }), ...(systemStreamAcl && { systemStreamAcl }) };
  } catch {
    return {};
  }
}

/** User name and password of an `authorization` header. Undefined when it is no basic authentication. */
export function parseBasicCredentials(header: string): { login: string; password: string } | undefined {
  const match = /^(?:Basic|Bearer) +([A-Za-z0-9+/]+={0,2})$/.exec(header);
  if (match === null) return undefined;
  const text = Buffer.from(match[1]!, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { login: text.slice(0, colon), password: text.slice(colon + 1) };
}
