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

  it('lets nothing pass that names nothing', () => {
    expect(matches(createFilter('type', '', []), event)).toBe(false);
  });

  it.each([
    ['\\Acomment', false],
    ['\\AComment\\w+\\z', true],
    ['Added\\Z', true],
    ['(?i)^commentadded$', true],
    ["^(?'what'Comment|Drawing)Added$", true],
    ['^[]A-Z]omment', true],
    ['[\\A]dded', true],
  ])('reads %s as .NET does', (expression, passes) =>
    expect(matches(createFilter('type', expression, []), event)).toBe(passes),
  );

  it.each(['(', '[a-z-[aeiou]]', '\\GComment', '(?x)Comment', "(?'open"])('refuses %s', (expression) =>
    expect(() => createFilter('type', expression, [])).toThrow(InvalidFilter),
  );
});

describe('excludesOnlySystem', () => {
  it('recognises how clients spell it', () => {
    expect(excludesOnlySystem(createFilter('type', '^[^\\$].*', []))).toBe(true);
    expect(excludesOnlySystem(createFilter('type', '^Comment', []))).toBe(false);
  });
});
