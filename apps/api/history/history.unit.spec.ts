import { definitions, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { PersistentMap } from '#libs/domain/persistentMap.js';
import { EXAMPLE } from '#libs/events/catalogue/common.js';
import { keysetOf, type Page } from '../platform/connections.js';
import { peopleIn, sentenceOf } from './sentences.js';

const event = (type: string, data: object, userId: string | null = EXAMPLE.user): RecordedEvent =>
  ({ type, data, metadata: { actor: { userId, role: 'CLIENT' } } }) as unknown as RecordedEvent;
const names = (id: string): string | undefined => (id === EXAMPLE.user ? 'Ada Quill' : undefined);
const example = (type: string): object => definitions.find((d) => d.type === type)!.example;

describe('a sentence', () => {
  it.each(definitions.map(({ type, example: data }) => [type, data] as const))('says %s in words', (type, data) => {
    const sentence = sentenceOf({ event: event(type, data), before: null, after: null }, names);
    expect(sentence).toMatch(/^Ada Quill \S.*\S\.$/);
    expect(sentence).not.toMatch(/undefined|null|\[object/);
  });

  it('tells old and new values, and whom it was about', () => {
    const say = (type: string, more: object = {}, by?: string | null) =>
      sentenceOf({ event: event(type, { ...example(type), ...more }, by), before: null, after: null }, names);
    expect(say('ProjectRenamed')).toBe('Ada Quill renamed the project: “Harbour at Dawn” → “Harbour at Dusk”.');
    expect(say('UserRoleChanged')).toBe('Ada Quill changed the role of Ada Quill: artist → producer.');
    expect(say('ProjectMemberAdded', { userId: EXAMPLE.comment }, null)).toBe('The system made somebody a member.');
  });

  it('names stages and quotes comments from what the entity was', () => {
    const stages = [{ stageId: EXAMPLE.stage, name: 'Colour' }];
    const moved = { event: event('StageStateChanged', example('StageStateChanged')), before: null, after: { stages } };
    expect(sentenceOf(moved, names)).toBe('Ada Quill moved “Colour”: ready → in review (upload).');
    const before = { comments: new PersistentMap([[EXAMPLE.comment, { text: 'Too dark' }]]) };
    const deleted = { event: event('CommentDeleted', example('CommentDeleted')), before, after: null };
    expect(sentenceOf(deleted, names)).toBe('Ada Quill deleted the comment “Too dark”.');
  });

  it('knows whose names it needs', () => {
    expect(peopleIn(event('ProjectMemberAdded', { userId: 'b' }, 'a'))).toEqual(['a', 'b']);
    expect(peopleIn(event('ProjectArchived', {}, null))).toEqual([]);
  });
});

describe('a page of a numbered list', () => {
  const all = [0, 1, 2, 3, 4, 5, 6];
  const read = (from: number, to: number) => Promise.resolve(all.slice(from, to + 1));

  it('walks it forwards and backwards without a gap', async () => {
    for (const [size, after, before] of [
      ['first', 'after', 'endCursor'],
      ['last', 'before', 'startCursor'],
    ] as const) {
      const seen: number[] = [];
      for (let cursor: string | null = null; ;) {
        const page: Page<number> = await keysetOf({ [size]: 3, [after]: cursor }, all.length, read);
        const nodes = page.edges.map(({ node }) => node);
        if (size === 'first') seen.push(...nodes);
        else seen.unshift(...nodes);
        if (!(size === 'first' ? page.pageInfo.hasNextPage : page.pageInfo.hasPreviousPage)) break;
        cursor = page.pageInfo[before];
      }
      expect(seen).toEqual(all);
    }
  });

  it('is refused what it is not', async () => {
    await expect(keysetOf({ after: 'nonsense' }, 3, read)).rejects.toMatchObject({
      extensions: { code: 'INVALID_PAGE' },
    });
    await expect(keysetOf({ first: 201 }, 3, read)).rejects.toMatchObject({ extensions: { code: 'INVALID_PAGE' } });
    expect((await keysetOf({ first: 5 }, 0, read)).edges).toEqual([]);
  });
});
