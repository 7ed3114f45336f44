import { createFilter, excludesOnlySystem, InvalidFilter, matches } from './event-filter.js';

const event = { stream: 'version-1', type: 'CommentAdded' };

describe('createFilter and matches', () => {
  it('filters stream names by any of several prefixes', () => {
    const filter = createFilter('stream', '', ['project-', 'version-']);
    expect(matches(filter, event)).toBe(true);
    expect(matches(filter, { stream: 'versionStack-1', type: 'x' })).toBe(false);
  });

  it('filters event types by prefix', () => {
    expect(matches(createFilter('type', '', ['Comment']), event)).toBe(true);
    expect(matches(createFilter('type', '', ['version-']), event)).toBe(false);
  });

  it('filters by a regular expression, which wins over prefixes', () => {
    expect(matches(createFilter('type', '^Comment(Added|Removed)$', ['never']), event)).toBe(true);
    expect(matches(createFilter('stream', '-2$', []), event)).toBe(false);
  });

  it('understands expressions that only the older syntax allows', () => {
    expect(matches(createFilter('type', '^[^\\$].*\\-?', []), event)).toBe(true);
  });

  it('refuses an empty filter and a broken expression', () => {
    expect(() => createFilter('type', '', [])).toThrow(InvalidFilter);
    expect(() => createFilter('type', '(', [])).toThrow(InvalidFilter);
  });
});

describe('excludesOnlySystem', () => {
  it('recognises how clients spell it', () => {
    expect(excludesOnlySystem(createFilter('type', '^[^\\$].*', []))).toBe(true);
    expect(excludesOnlySystem(createFilter('type', '^Comment', []))).toBe(false);
  });
});
