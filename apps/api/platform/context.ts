import { GraphQLError } from 'graphql';
import { can, type Permission } from '#libs/domain/index.js';
import { refuse, type Refusal, type Role } from '#libs/events/catalogue/index.js';
import type { Session } from '#libs/secrets/index.js';
import type { ReadSession } from './read-store.js';

/** The person behind a request, with the role they have now. */
export interface Viewer {
  readonly userId: string;
  readonly organisationId: string;
  readonly role: Role;
}

/** What one operation works with. */
export interface RequestContext {
  readonly session: Session | null;
  readonly viewer: Viewer | null;
  /** The request brought the operator's token: it comes from whoever runs the machine. */
  readonly operator: boolean;
  readonly origin: { readonly ip?: string; readonly userAgent?: string };
  /** The socket it came by. */
  readonly socket?: string;
  /** `X-As-Of` of the request: read as of that moment. */
  readonly asOf?: string;
  /** Reads of this operation; one snapshot. Subscriptions get a new one with each message. */
  read: ReadSession;
}

export const unauthenticated = () =>
  new GraphQLError('Sign in first: the token is missing, expired or was ended.', {
    extensions: { code: 'UNAUTHENTICATED' },
  });

/** @throws UNAUTHENTICATED */
export function viewerOf(context: RequestContext): Viewer {
  if (!context.viewer) throw unauthenticated();
  return context.viewer;
}

export const forbidden = (permission: Permission): Refusal =>
  refuse('FORBIDDEN', `Your role does not include “${permission}”.`, { details: { permission } });

/** For reads. @throws UNAUTHENTICATED, FORBIDDEN */
export function requirePermission(context: RequestContext, permission: Permission): Viewer {
  const viewer = viewerOf(context);
  if (!can(viewer.role, permission))
    throw new GraphQLError(forbidden(permission).message, { extensions: { code: 'FORBIDDEN', permission } });
  return viewer;
}
