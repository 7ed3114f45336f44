import fc from 'fast-check';
import {
  isAdmin,
  isOperator,
  mayAccess,
  parseBasicCredentials,
  parseSystemSettings,
  type Principal,
} from './access.js';
import { parseAcl, type StreamAcl } from './acl.js';

const user = (name: string, ...groups: string[]): Principal => ({ name, groups });
const acl = (text: string) => parseAcl(JSON.parse(text));

describe('mayAccess', () => {
  it('lets everybody who is signed in at ordinary streams, and only admins at system streams', () => {
    for (const action of ['read', 'write', 'delete'] as const) {
      expect(mayAccess(user('a'), action, 'x-1', undefined, {})).toBe(true);
      expect(mayAccess(user('a'), action, '$x', undefined, {})).toBe(false);
      expect(mayAccess('anonymous', action, 'x-1', undefined, {})).toBe(false);
    }
    expect(mayAccess(user('a'), 'read', '$all', undefined, {})).toBe(false);
    expect(mayAccess(user('a', '$admins'), 'read', '$all', undefined, {})).toBe(true);
    expect(mayAccess(user('admin'), 'write', '$x', undefined, {})).toBe(true);
  });

  it('asks the stream’s list, then the system’s, then the default, right by right', () => {
    const own = acl('{"$r":"a","$w":[]}');
    const settings = parseSystemSettings(Buffer.from('{"$userStreamAcl":{"$r":"b","$d":["b","c"]}}'));
    const may = (who: string, action: 'read' | 'write' | 'delete', stream = 'x', list = own) =>
      mayAccess(user(who), action, stream, list, settings);
    expect([may('a', 'read'), may('b', 'read')]).toEqual([true, false]);
    expect(may('a', 'write')).toBe(false);
    expect([may('a', 'delete'), may('b', 'delete'), may('c', 'delete')]).toEqual([false, true, true]);
    expect(may('b', 'read', 'x', {})).toBe(true);
    // Metadata has rights of its own, decided by the list of the stream it belongs to.
    expect(may('a', 'read', '$$x')).toBe(true);
    expect(may('a', 'write', '$$x', acl('{"$mw":"b"}'))).toBe(false);
    expect(may('b', 'write', '$$x', acl('{"$mw":"b"}'))).toBe(true);
    expect(may('a', 'read', '$$$system', {})).toBe(false);
  });

  it('never lets anybody write or delete $all, or delete metadata', () => {
    for (const who of [user('admin'), user('a', '$admins')]) {
      expect(mayAccess(who, 'write', '$all', undefined, {})).toBe(false);
      expect(mayAccess(who, 'delete', '$all', undefined, {})).toBe(false);
      expect(mayAccess(who, 'delete', '$$x', undefined, {})).toBe(false);
    }
  });

  it('gives nobody a right whose list names neither them, their groups nor $all', () => {
    const role = fc.constantFrom('a', 'b', '$g', '$h', '$all');
    fc.assert(
      fc.property(
        fc.array(role, { maxLength: 4 }),
        fc.constantFrom('a', 'b', 'c'),
        fc.subarray(['$g', '$h']),
        (roles, name, groups) => {
          const list: StreamAcl = { read: roles };
          const named = roles.some((one) => one === '$all' || one === name || groups.includes(one));
          expect(mayAccess(user(name, ...groups), 'read', 'x', list, {})).toBe(named);
        },
      ),
    );
  });
});

it('knows admins and operators by name or group', () => {
  expect([user('admin'), user('x', '$admins'), 'system' as const].map(isAdmin)).toEqual([true, true, true]);
  expect([user('ops'), user('x', '$ops'), user('admin')].map(isOperator)).toEqual([true, true, true]);
  expect([user('x'), 'anonymous' as const, user('ops')].map(isAdmin)).toEqual([false, false, false]);
  expect(isOperator(user('x', 'ops'))).toBe(false);
});

describe('parseBasicCredentials', () => {
  const header = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

  it('keeps colons of the password', () => {
    expect(parseBasicCredentials(header('a:b:c'))).toEqual({ login: 'a', password: 'b:c' });
    expect(parseBasicCredentials(header('ä:ö'))).toEqual({ login: 'ä', password: 'ö' });
  });

  it.each(['', 'Basic', 'Basic ', 'Basic !', 'Digest YTpi', header('nocolon')])('refuses %j', (text) => {
    expect(parseBasicCredentials(text)).toBeUndefined();
  });
});

it.each(['', 'null', '[]', '1', '{"$userStreamAcl":5}'])('settings %j set nothing', (text) => {
  expect(parseSystemSettings(Buffer.from(text))).toEqual({});
});
