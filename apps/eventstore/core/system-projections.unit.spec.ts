import { linkContent, linkStreamsOf } from './system-projections.js';

const event = { stream: 'order-1', revision: 3, type: 'Placed', deletes: undefined };

describe('the link streams of an event', () => {
  it.each([
    ['an event of a category', event, ['$ce-order', '$et-Placed']],
    ['the first of a stream', { ...event, revision: 0 }, ['$ce-order', '$et-Placed', '$streams', '$category-order']],
    ['a category ends at the first hyphen', { ...event, stream: 'a-b-c' }, ['$ce-a', '$et-Placed']],
    ['no hyphen, no category', { ...event, stream: 'order' }, ['$et-Placed']],
    ['a leading hyphen makes no category', { ...event, stream: '-order' }, ['$et-Placed']],
    ['a system stream has no category', { ...event, stream: '$users-x', revision: 0 }, ['$et-Placed', '$streams']],
    ['links are not indexed by type', { ...event, type: '$>' }, ['$ce-order']],
    [
      'a soft delete counts for the category of the stream it deletes',
      { stream: '$$order-1', revision: 4, type: '$metadata', deletes: 'order-1' },
      ['$ce-order', '$et-$deleted'],
    ],
    ['a name no index takes', { ...event, type: 'x'.repeat(1_021) }, ['$ce-order']],
  ])('%s', (_name, given, names) => {
    expect(linkStreamsOf(given)).toEqual(names);
  });
});

describe('a link', () => {
  const source = { stream: 'order-1', revision: '3', type: 'Placed', data: () => Buffer.from('2@other-1') };
  it.each([
    ['$ce-order', source, '$>', '3@order-1'],
    ['$ce-order', { ...source, type: '$>' }, '$>', '2@other-1'],
    ['$et-Placed', source, '$>', '3@order-1'],
    ['$et-$deleted', { ...source, stream: '$$order-1' }, '$>', '3@order-1'],
    ['$streams', source, '$>', '3@order-1'],
    ['$category-order', source, '$@', 'order-1'],
  ])('of %s', (stream, given, type, data) => {
    expect(linkContent(stream, given)).toEqual({ type, data: Buffer.from(data) });
  });
});
