import { useCallback, useEffect, useEffectEvent, useMemo, useReducer, useRef, useState } from 'react';
import {
  StackChangedDocument,
  StackDocument,
  type StackQuery,
  VersionMediaDocument,
  VersionRoomDocument,
  type VersionRoomQuery,
} from '../../generated/graphql.js';
import { ApiFailure } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import { useLive } from '../../net/live.js';
import {
  type Comment,
  EMPTY_ROOM,
  type Entities,
  roomReducer,
  type RoomState,
  type StackMessage,
  type Version,
} from './state.js';

export interface Place {
  readonly deliverable: string;
  readonly project: string;
  readonly projectCode: string;
}

export interface Room {
  readonly state: RoomState;
  readonly place: Place | null;
  /** Why the stack can't be shown; null when it can. */
  readonly failure: ApiFailure | null;
  retry(): void;
  /** Loads a version's comments and decisions, again when they are there already. */
  openVersion(versionId: string): Promise<void>;
  /** Fresh signed addresses of a version's media. */
  renewMedia(versionId: string): Promise<void>;
  /** Shows what a mutation of this window returned before its message arrives, unless later messages were first. */
  answered(entities: Entities, position?: string | null): void;
}

/** A stack with everything that happens to it. */
export function useRoom(stackId: string, onMessage: (message: StackMessage) => void): Room {
  const { api } = useSession();
  const [state, dispatch] = useReducer(roomReducer, EMPTY_ROOM);
  const [place, setPlace] = useState<Place | null>(null);
  const [from, setFrom] = useState<string | null>(null);
  const [failure, setFailure] = useState<ApiFailure | null>(null);
  const opened = useRef(new Set<string>());

  const openVersion = useCallback(
    async (versionId: string) => {
      opened.current.add(versionId);
      const comments: Comment[] = [];
      let first: NonNullable<VersionRoomQuery['version']> | null = null;
      for (let after: string | null = null; ;) {
        const { version }: VersionRoomQuery = await api.ask(VersionRoomDocument, { id: versionId, after });
        if (!version) throw new ApiFailure('NOT_FOUND', 'This version doesn’t exist or isn’t yours to see.');
        first ??= version;
        comments.push(...version.comments.edges.map(({ node }) => node));
        if (!version.comments.pageInfo.hasNextPage) break;
        after = version.comments.pageInfo.endCursor;
      }
      const { comments: _, decisions, ...version } = first;
      dispatch({ type: 'opened', versionId, entities: { versions: [version], comments, decisions } });
    },
    [api],
  );

  const load = useCallback(async () => {
    try {
      const versions: Version[] = [];
      let first: StackQuery | null = null;
      for (let after: string | null = null; ;) {
        const page: StackQuery = await api.ask(StackDocument, { id: stackId, after });
        if (!page.versionStack) throw new ApiFailure('NOT_FOUND', 'This stage doesn’t exist or isn’t yours to see.');
        first ??= page;
        versions.push(...page.versionStack.versions.edges.map(({ node }) => node));
        if (!page.versionStack.versions.pageInfo.hasNextPage) break;
        after = page.versionStack.versions.pageInfo.endCursor;
      }
      const stack = first.versionStack!;
      const { deliverable, ...stage } = stack.stage;
      setPlace({
        deliverable: deliverable.name,
        project: deliverable.project.name,
        projectCode: deliverable.project.code,
      });
      dispatch({
        type: 'snapshot',
        position: first.position,
        entities: { stage, currentVersionId: stack.current?.id ?? null, versions },
      });
      setFrom(first.position);
      setFailure(null);
      await Promise.all([...opened.current].map((id) => openVersion(id)));
    } catch (error) {
      setFailure(error instanceof ApiFailure ? error : new ApiFailure('INTERNAL_ERROR', String(error)));
    }
  }, [api, stackId, openVersion]);
  useEffect(() => void load(), [load]);

  const heard = useEffectEvent(onMessage);
  const seen = useRef<string | null>(null);
  useLive(
    StackChangedDocument,
    from === null ? null : { stackId, after: from },
    ({ stackChanged }) => {
      dispatch({ type: 'message', message: stackChanged });
      if (seen.current === null || BigInt(stackChanged.position) > BigInt(seen.current)) {
        seen.current = stackChanged.position;
        heard(stackChanged);
      }
    },
    () => void load(),
  );

  const renewMedia = useCallback(
    async (versionId: string) => {
      const { version } = await api.ask(VersionMediaDocument, { id: versionId });
      if (version) dispatch({ type: 'media', versionId, media: version.media });
    },
    [api],
  );
  const answered = useCallback(
    (entities: Entities, position: string | null = null) => dispatch({ type: 'answered', entities, position }),
    [],
  );
  const retry = useCallback(() => void load(), [load]);

  return useMemo(
    () => ({ state, place, failure, retry, openVersion, renewMedia, answered }),
    [state, place, failure, retry, openVersion, renewMedia, answered],
  );
}
