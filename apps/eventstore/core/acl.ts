/** Access control lists as stream metadata and system settings carry them. Pure. */

/** Roles by action; what is absent is decided by the system settings, and then by the built-in defaults. */
export type StreamAcl = {
  read?: readonly string[];
  write?: readonly string[];
  delete?: readonly string[];
  metadataRead?: readonly string[];
  metadataWrite?: readonly string[];
};

const ACL_FIELDS = { $r: 'read', $w: 'write', $d: 'delete', $mr: 'metadataRead', $mw: 'metadataWrite' } as const;

/** Whether it is an access control list at all: an object whose rights are roles or lists of them. */
export function isAcl(raw: unknown): boolean {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return false;
  return Object.keys(ACL_FIELDS).every((field) => {
    const roles = (raw as Record<string, unknown>)[field];
    const all = Array.isArray(roles) ? roles : [roles ?? ''];
    return all.every((role) => typeof role === 'string');
  });
}

/** Parses an `$acl`; each right is one role or a list. What can't be understood counts as absent. */
export function parseAcl(raw: unknown): StreamAcl | undefined {
  if (typeof raw !== 'object' || raw === null) return undefined;
  const acl: StreamAcl = {};
  for (const [field, right] of Object.entries(ACL_FIELDS)) {
    const roles = (raw as Record<string, unknown>)[field];
    if (typeof roles === 'string') acl[right] = [roles];
    else if (Array.isArray(roles)) acl[right] = roles.filter((role) => typeof role === 'string');
  }
  return Object.keys(acl).length > 0 ? acl : undefined;
}
