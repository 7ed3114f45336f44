import { ArgsType, Field, Int, ObjectType } from '@nestjs/graphql';
import type { Type } from '@nestjs/common';
import { GraphQLError } from 'graphql';
import type { SelectQueryBuilder, ObjectLiteral } from 'typeorm';
import { Position } from './scalars.js';

export const MAX_PAGE = 200;
export const DEFAULT_PAGE = 50;

@ArgsType()
export class PageArgs {
  @Field(() => Int, { nullable: true, description: `At most ${MAX_PAGE}.` }) first?: number | null;
  @Field(() => String, { nullable: true }) after?: string | null;
  @Field(() => Int, { nullable: true, description: `At most ${MAX_PAGE}.` }) last?: number | null;
  @Field(() => String, { nullable: true }) before?: string | null;
}

@ArgsType()
export class AtLeastArgs {
  @Field(() => Position, {
    nullable: true,
    description: 'Answer from read models that have reached at least this position.',
  })
  atLeast?: string | null;
}

@ArgsType()
export class PageAtLeastArgs extends PageArgs {
  @Field(() => Position, {
    nullable: true,
    description: 'Answer from read models that have reached at least this position.',
  })
  atLeast?: string | null;
}

@ObjectType()
export class PageInfo {
  @Field() hasNextPage: boolean;
  @Field() hasPreviousPage: boolean;
  @Field(() => String, { nullable: true }) startCursor: string | null;
  @Field(() => String, { nullable: true }) endCursor: string | null;
}

export interface Page<T> {
  edges: { cursor: string; node: T }[];
  pageInfo: PageInfo;
  totalCount: () => Promise<number>;
}

/** The connection type of a node type (GraphQL Cursor Connections Specification). */
export function ConnectionOf<T>(node: Type<T>, name: string): Type<Page<T>> {
  @ObjectType(`${name}Edge`)
  class Edge {
    @Field() cursor: string;
    @Field(() => node) node: T;
  }
  @ObjectType(`${name}Connection`)
  class Connection {
    @Field(() => [Edge]) edges: Edge[];
    @Field(() => PageInfo) pageInfo: PageInfo;
    /** Counted only when it is asked for: Nest's own resolver reads properties and calls nothing. */
    @Field(() => Int, { middleware: [({ source }) => (source as Connection).totalCount()] })
    totalCount: () => Promise<number>;
  }
  return Connection as unknown as Type<Page<T>>;
}

export const badPage = (message: string, path: string) =>
  new GraphQLError(message, { extensions: { code: 'INVALID_PAGE', path: [path] } });

const encodeCursor = (key: string): string => Buffer.from(`k${key}`).toString('base64url');
function decodeCursor(cursor: string, path: string): string {
  const text = Buffer.from(cursor, 'base64url').toString();
  if (!/^k-?\d{1,20}$/.test(text)) throw badPage('This cursor is not one of ours.', path);
  return text.slice(1);
}

/** How many items, and from which end. @throws INVALID_PAGE */
export function sizeOf(args: PageArgs): { size: number; backwards: boolean } {
  if (args.first != null && args.last != null) throw badPage('Take first or last, not both.', 'last');
  const size = args.first ?? args.last ?? DEFAULT_PAGE;
  if (size < 0 || size > MAX_PAGE)
    throw badPage(`A page has 0 to ${MAX_PAGE} items.`, args.first != null ? 'first' : 'last');
  return { size, backwards: args.last != null };
}

/** One page of a list whose items are numbered from 0 without gaps; `read` gets the first and the last number wanted. */
export async function keysetOf<T>(
  args: PageArgs,
  total: number,
  read: (from: number, to: number) => Promise<T[]>,
): Promise<Page<T>> {
  const { size, backwards } = sizeOf(args);
  const low = args.after ? Number(decodeCursor(args.after, 'after')) + 1 : 0;
  const high = args.before ? Number(decodeCursor(args.before, 'before')) - 1 : total - 1;
  const last = Math.min(high, total - 1);
  const from = backwards ? Math.max(low, last - size + 1) : low;
  const to = backwards ? last : Math.min(last, low + size - 1);
  const nodes = to < from ? [] : await read(from, to);
  const edges = nodes.map((node, i) => ({ cursor: encodeCursor(String(from + i)), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: backwards ? args.before != null : to < last,
      hasPreviousPage: backwards ? from > low : args.after != null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    totalCount: () => Promise.resolve(total),
  };
}

/**
 * One page by keyset on a unique numeric column. `descending` is the list's natural order; `last`/`before` walk it
 * backwards and the page still reads forwards.
 */
export async function pageOf<T extends ObjectLiteral>(
  query: SelectQueryBuilder<T>,
  column: string,
  args: PageArgs,
  keyOf: (row: T) => string | number,
  descending = false,
): Promise<Page<T>> {
  const { size, backwards } = sizeOf(args);
  const all = query.clone();
  const [greater, less] = descending ? ['<', '>'] : ['>', '<'];
  if (args.after) query.andWhere(`${column} ${greater} :after`, { after: decodeCursor(args.after, 'after') });
  if (args.before) query.andWhere(`${column} ${less} :before`, { before: decodeCursor(args.before, 'before') });
  const rows = await query
    .orderBy(column, descending !== backwards ? 'DESC' : 'ASC')
    .limit(size + 1)
    .getMany();
  const more = rows.length > size;
  if (more) rows.pop();
  if (backwards) rows.reverse();
  const edges = rows.map((node) => ({ cursor: encodeCursor(String(keyOf(node))), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: backwards ? args.before != null : more,
      hasPreviousPage: backwards ? more : args.after != null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    totalCount: () => all.getCount(),
  };
}
