/** Comments as threads, as the list shows them. Pure. */
import { covers, type FrameRange } from '../../media/frames.js';
import { type Annotation, type Comment, personOf } from './state.js';

export interface Thread {
  readonly root: Comment;
  /** Answers at any depth, oldest first. */
  readonly answers: readonly Comment[];
}

export type ThreadFilter = 'all' | 'open' | 'resolved' | 'mine' | 'drawings';
export type ThreadOrder = 'timecode' | 'newest';

/**
 * Threads from comments in order of creation. An answer whose parent isn't here (yet) begins a thread of its own; a deleted
 * comment stays as long as somebody answered it.
 */
export function buildThreads(comments: readonly Comment[]): Thread[] {
  const byId = new Map(comments.map((comment) => [comment.id, comment]));
  const rootOf = (comment: Comment): Comment => {
    let at = comment;
    // A chain can't be longer than the list; the bound keeps a broken one from hanging the page.
    for (let i = 0; i < comments.length && at.parentId !== null; i++) {
      const parent = byId.get(at.parentId);
      if (!parent || parent.id === comment.id) break;
      at = parent;
    }
    return at;
  };
  const threads = new Map<string, { root: Comment; answers: Comment[] }>();
  for (const comment of comments) {
    const root = rootOf(comment);
    const thread = threads.get(root.id) ?? { root, answers: [] };
    if (comment.id !== root.id) thread.answers.push(comment);
    threads.set(root.id, thread);
  }
  return [...threads.values()]
    .map(({ root, answers }) => ({ root, answers: answers.filter((answer) => !answer.deleted) }))
    .filter(({ root, answers }) => !root.deleted || answers.length > 0);
}

export function visibleDrawings(comment: Comment): Annotation[] {
  return comment.deleted ? [] : comment.annotations.filter((annotation) => !annotation.removed);
}

/** Where a comment points: its own range, else that of its first drawing; null for the whole version. */
export function placeOf(comment: Comment): FrameRange | null {
  return comment.range ?? visibleDrawings(comment).find(({ range }) => range)?.range ?? null;
}

export function filterThreads(threads: readonly Thread[], filter: ThreadFilter, viewerId: string | null): Thread[] {
  switch (filter) {
    case 'all':
      return [...threads];
    case 'open':
      return threads.filter(({ root }) => !root.resolved);
    case 'resolved':
      return threads.filter(({ root }) => root.resolved);
    case 'mine':
      return threads.filter(({ root, answers }) => [root, ...answers].some(({ author }) => author?.id === viewerId));
    case 'drawings':
      return threads.filter(({ root, answers }) => [root, ...answers].some((one) => visibleDrawings(one).length > 0));
  }
}

/** By place on the clip (whole-version comments first), or the newest thread first. */
export function orderThreads(threads: readonly Thread[], order: ThreadOrder): Thread[] {
  const sorted = [...threads];
  if (order === 'newest') return sorted.reverse();
  const at = (thread: Thread) => placeOf(thread.root)?.in ?? -1;
  return sorted.sort((a, b) => at(a) - at(b));
}

/** Drawings on screen at a frame, in order of creation; those of hidden layers left out. A drawing without a range is always on. */
export function drawingsAt(
  comments: readonly Comment[],
  frame: number,
  hidden: ReadonlySet<string>,
  options: { still: boolean; showResolved: boolean },
): Annotation[] {
  return comments.flatMap((comment) =>
    comment.resolved && !options.showResolved
      ? []
      : visibleDrawings(comment).filter((annotation) => {
          if (hidden.has(personOf(annotation.author).id)) return false;
          const range = annotation.range ?? comment.range;
          return options.still || range === null || covers(range, frame);
        }),
  );
}

/** Everybody with a drawing on the version: one layer each. */
export function layersOf(comments: readonly Comment[]): { id: string; name: string; count: number }[] {
  const layers = new Map<string, { id: string; name: string; count: number }>();
  for (const comment of comments) {
    for (const drawing of visibleDrawings(comment)) {
      const author = personOf(drawing.author);
      const layer = layers.get(author.id) ?? { id: author.id, name: author.name, count: 0 };
      layers.set(author.id, { ...layer, count: layer.count + 1 });
    }
  }
  return [...layers.values()];
}
