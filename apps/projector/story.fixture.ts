import { randomUUID } from 'node:crypto';
import {
  catalogue,
  EXAMPLE,
  type AnyEvent,
  type DeliverableStage,
  type EventMetadata,
  type RecordedEvent,
  type Role,
} from '#libs/events/catalogue/index.js';
import type { AppendResult, EventLog, LogSubscription, NewEvent, SubscribeOptions } from '#libs/events/log/types.js';
import { categoryOf } from './projection.js';

type DataOf<T extends AnyEvent['type']> = Extract<AnyEvent, { type: T }>['data'];
export interface Written {
  readonly stream: string;
  readonly event: NewEvent;
}

const ID_FIELD: Record<string, string> = {
  organisation: 'organisationId',
  user: 'userId',
  pipelineTemplate: 'templateId',
  project: 'projectId',
  deliverable: 'deliverableId',
  versionStack: 'stackId',
  version: 'versionId',
  versionMedia: 'versionId',
  comparison: 'comparisonId',
};

/** One event in the stream its data names, checked against the catalogue; what isn't given is as in the example. */
export function happened<T extends AnyEvent['type']>(
  type: T,
  data: Partial<DataOf<T>> = {},
  meta: { by?: string | null; role?: Role; at?: string } = {},
): Written {
  const definition = catalogue.get(type)!;
  const whole = definition.schema.parse({ ...(definition.example as object), ...data }) as Record<string, unknown>;
  const metadata: EventMetadata = {
    $correlationId: 'story',
    $causationId: 'story',
    commandId: randomUUID(),
    commandHash: '',
    index: 0,
    count: 1,
    organisationId: (whole.organisationId as string | undefined) ?? EXAMPLE.organisation,
    actor: { userId: meta.by === undefined ? EXAMPLE.user : meta.by, role: meta.role ?? 'PRODUCER' },
    schemaVersion: definition.version,
    at: meta.at ?? '2026-03-01T10:00:00.000Z',
  };
  const id = (definition.category === 'versionMedia' && whole.referenceId) || whole[ID_FIELD[definition.category]!];
  return {
    stream: `${definition.category}-${String(id)}`,
    event: { id: randomUUID(), type, data: whole as DataOf<T>, metadata },
  };
}

/** Small stable ids for specs: `uid('a1')`. */
export const uid = (text: string): string =>
  `00000000-0000-4000-8000-${Buffer.from(text).toString('hex').padStart(12, '0').slice(-12)}`;

/** The log door over a list, for specs that need no server; positions have gaps, like the real ones. */
export class MemoryLog implements EventLog {
  readonly events: RecordedEvent[] = [];
  subscriptions = 0;
  readonly #wake = new Set<() => void>();

  write(...written: readonly Written[]): bigint {
    for (const { stream, event } of written)
      this.events.push({
        id: event.id,
        stream,
        revision: this.events.filter((other) => other.stream === stream).length,
        position: BigInt(this.events.length * 10),
        created: new Date(),
        type: event.type,
        data: event.data,
        metadata: event.metadata,
      });
    for (const wake of this.#wake) wake();
    return this.last;
  }

  get last(): bigint {
    return this.events.at(-1)?.position ?? 0n;
  }

  append(stream: string, events: readonly NewEvent[]): Promise<AppendResult> {
    const position = this.write(...events.map((event) => ({ stream, event })));
    return Promise.resolve({ ok: true, revision: 0n, position });
  }

  async *readStream(stream: string, { from = 0n }: { from?: bigint } = {}): AsyncIterable<RecordedEvent> {
    yield* this.events.filter((event) => event.stream === stream && event.revision >= Number(from));
  }

  async *readAll({ after = null }: { after?: bigint | null } = {}): AsyncIterable<RecordedEvent> {
    yield* this.events.filter(({ position }) => position > (after ?? -1n));
  }

  subscribe({
    after,
    categories,
    types,
    maxBatch = 100,
    onBatch,
    onConnection,
    signal,
  }: SubscribeOptions): LogSubscription {
    this.subscriptions++;
    const abort = new AbortController();
    signal?.addEventListener('abort', () => abort.abort());
    const run = async (): Promise<void> => {
      let position = after ?? -1n;
      onConnection?.('connected');
      while (!abort.signal.aborted) {
        const ahead = this.events.filter((event) => event.position > position);
        if (ahead.length === 0) {
          await new Promise<void>((resolve) => {
            this.#wake.add(resolve);
            abort.signal.addEventListener('abort', () => resolve(), { once: true });
          });
          continue;
        }
        const matching = ahead.filter(
          ({ stream, type }) =>
            categories?.includes(categoryOf(stream)) !== false &&
            (types as readonly string[] | undefined)?.includes(type) !== false,
        );
        const events = matching.slice(0, maxBatch);
        const whole = matching.length <= maxBatch;
        position = whole ? ahead.at(-1)!.position : events.at(-1)!.position;
        await onBatch({ events, position, live: whole });
      }
    };
    const done = run();
    done.catch(() => undefined);
    return {
      done,
      stop: async () => {
        abort.abort();
        await done.catch(() => undefined);
      },
    };
  }

  head(): Promise<bigint> {
    return Promise.resolve(this.last);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** People and things of the relay. */
export const CAST = {
  manager: uid('manag'),
  shooter: uid('shoot'),
  editor: uid('edit'),
  client: uid('clien'),
  colourist: uid('colou'),
  ingest: uid('st-in'),
  edit: uid('st-ed'),
  colour: uid('st-co'),
  v0: uid('v0'),
  v1: uid('v1'),
  v2: uid('v2'),
  v3: uid('v3'),
  c1: uid('c1'),
  c2: uid('c2'),
  r1: uid('r1'),
  r2: uid('r2'),
  a1: uid('a1'),
  a2: uid('a2'),
  d1: uid('d1'),
  d2: uid('d2'),
  k1: uid('k1'),
  k2: uid('k2'),
} as const;

const stageOf = (stageId: string, key: string, dependsOn: string[], state: 'READY' | 'BLOCKED'): DeliverableStage => ({
  stageId,
  key,
  name: key,
  dependsOn,
  completesOn: key === 'ingest' ? 'UPLOAD' : 'APPROVAL',
  approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
  labels: { READY: `Ready for ${key}` },
  state,
});
const stateOf = (
  stageId: string,
  from: DataOf<'StageStateChanged'>['from'],
  to: DataOf<'StageStateChanged'>['to'],
  cause: DataOf<'StageStateChanged'>['cause'],
) => happened('StageStateChanged', { stageId, from, to, cause, versionId: null });

const recorded = (
  stageId: string,
  versionId: string | null,
  outcome: DataOf<'StageVersionRecorded'>['outcome'] = 'PENDING',
) => happened('StageVersionRecorded', { stageId, versionId, outcome });

/** The relay of RV-22 as events: ingest, edit v1, comments, changes, v2, a withdrawn v3, approval, hand-off to colour. */
export function relay(): Written[] {
  const { manager, shooter, editor, client, colourist, ingest, edit, colour } = CAST;
  const { v0, v1, v2, v3, r1, r2, c1, c2, a1, a2, d1, d2, k1, k2 } = CAST;
  const person = (userId: string, name: string, role: Role) =>
    happened('UserRegistered', { userId, name, email: `${name}@northlight.example`, role });
  const version = (versionId: string, stackId: string, number: number, by: string, supersedes: string | null) => [
    happened('VersionOpened', { versionId, stackId, note: `take ${number}` }, { by }),
    happened('VersionUploaded', { versionId, stackId, number, supersedes, note: `take ${number}` }, { by }),
  ];
  const transcoded = (versionId: string, stackId: string) =>
    happened('TranscodeCompleted', { versionId, stackId }, { by: null, role: 'SERVICE' });
  const on = (versionId: string) => ({ versionId, stackId: edit });
  const comparing = (comparisonId: string, versionId: string, referenceId: string | null) => {
    const { from, to } = catalogue.get('ComparisonRequested')!.example as DataOf<'ComparisonRequested'>;
    const earlier = { ...from, versionId, referenceId, stackId: edit };
    const later = { ...to, versionId: v2, stackId: edit };
    return happened('ComparisonRequested', { ...on(v2), comparisonId, from: earlier, to: later }, { by: client });
  };
  return [
    happened('OrganisationCreated'),
    person(manager, 'manager', 'PRODUCER'),
    person(shooter, 'shooter', 'ARTIST'),
    person(editor, 'editor', 'ARTIST'),
    person(client, 'client', 'CLIENT'),
    person(colourist, 'colourist', 'ARTIST'),
    happened('PipelineTemplateCreated'),
    happened('ProjectCreated'),
    happened('ProjectMemberAdded', { userId: client }),
    happened('DeliverableCreated', {
      stages: [
        stageOf(ingest, 'ingest', [], 'READY'),
        stageOf(edit, 'edit', [ingest], 'BLOCKED'),
        stageOf(colour, 'colour', [edit], 'BLOCKED'),
      ],
    }),
    happened('StageAssigned', { stageId: ingest, userId: shooter }),
    ...version(v0, ingest, 1, shooter, null),
    recorded(ingest, v0),
    stateOf(ingest, 'READY', 'APPROVED', 'UPLOAD'),
    stateOf(edit, 'BLOCKED', 'READY', 'DEPENDENCY'),
    transcoded(v0, ingest),
    happened('StageUnassigned', { stageId: ingest, userId: shooter }),
    happened('StageAssigned', { stageId: edit, userId: editor }),
    ...version(v1, edit, 1, editor, null),
    recorded(edit, v1),
    stateOf(edit, 'READY', 'IN_REVIEW', 'UPLOAD'),
    happened('TranscodeFailed', on(v1), { by: null }),
    happened('TranscodeRetried', on(v1), { by: editor }),
    transcoded(v1, edit),
    happened('ReferenceAttached', { ...on(v1), referenceId: r1, attachedBy: editor }, { by: editor }),
    happened('TranscodeFailed', { ...on(v1), referenceId: r1 }, { by: null }),
    happened('ReferenceAttached', { ...on(v1), referenceId: r2, attachedBy: client }, { by: client }),
    happened('TranscodeCompleted', { ...on(v1), referenceId: r2 }, { by: null }),
    happened('ReferenceDetached', { ...on(v1), referenceId: r1 }, { by: editor }),
    happened(
      'CommentAdded',
      { ...on(v1), commentId: c1, text: 'Trim the opening', mentions: [editor] },
      { by: client },
    ),
    happened('AnnotationAdded', { ...on(v1), annotationId: a1, commentId: c1 }, { by: client }),
    happened('CommentAdded', { ...on(v1), commentId: c2, text: 'Oops', parentId: c1, range: null }, { by: client }),
    happened('AnnotationAdded', { ...on(v1), annotationId: a2, commentId: c2, range: null }, { by: client }),
    happened('CommentEdited', { ...on(v1), commentId: c1, from: 'Trim the opening', to: 'Trim it', mentions: [] }),
    happened('AnnotationRemoved', { ...on(v1), annotationId: a1, commentId: c1 }, { by: client }),
    happened('AnnotationRestored', { ...on(v1), annotationId: a1, commentId: c1 }, { by: client }),
    happened('CommentDeleted', { ...on(v1), commentId: c2 }, { by: client }),
    happened('DecisionRecorded', { ...on(v1), decisionId: d1, reviewerId: client }, { by: client }),
    happened('VersionOutcomeChanged', { ...on(v1) }, { by: client }),
    recorded(edit, v1, 'CHANGES_REQUESTED'),
    stateOf(edit, 'IN_REVIEW', 'CHANGES_REQUESTED', 'DECISION'),
    happened('VersionClosed', { ...on(v1), by: v2 }, { by: editor }),
    ...version(v2, edit, 2, editor, v1),
    recorded(edit, v2),
    stateOf(edit, 'CHANGES_REQUESTED', 'IN_REVIEW', 'UPLOAD'),
    happened('CommentResolved', { ...on(v1), commentId: c1 }, { by: editor }),
    happened('VersionClosed', { ...on(v2), by: v3 }, { by: editor }),
    ...version(v3, edit, 3, editor, v2),
    recorded(edit, v3),
    happened('VersionWithdrawn', { stackId: edit, versionId: v3, number: 3, current: v2 }, { by: editor }),
    happened('VersionClosed', { ...on(v3), reason: 'WITHDRAWN', by: null, text: 'Wrong reel' }, { by: editor }),
    happened('VersionReopened', { ...on(v2) }, { by: editor }),
    recorded(edit, v2),
    transcoded(v2, edit),
    comparing(k1, v1, null),
    comparing(k2, v1, r2),
    happened('ComparisonFailed', { ...on(v2), comparisonId: k1 }, { by: null }),
    happened('ComparisonCompleted', { ...on(v2), comparisonId: k2 }, { by: null }),
    comparing(k1, v1, null),
    happened('ComparisonCompleted', { ...on(v2), comparisonId: k1 }, { by: null }),
    happened(
      'DecisionRecorded',
      { ...on(v2), decisionId: d2, reviewerId: client, verdict: 'APPROVED', text: '' },
      { by: client },
    ),
    happened('VersionOutcomeChanged', { ...on(v2), to: 'APPROVED' }, { by: client }),
    recorded(edit, v2, 'APPROVED'),
    stateOf(edit, 'IN_REVIEW', 'APPROVED', 'DECISION'),
    stateOf(colour, 'BLOCKED', 'READY', 'DEPENDENCY'),
    happened('StageAssigned', { stageId: colour, userId: colourist }),
  ];
}

/** A large history of comments and drawings on `versions` versions of one stage each, as the rebuild figure wants. */
export function* crowd(events: number, versions = 50): Generator<Written> {
  yield happened('OrganisationCreated');
  yield happened('ProjectCreated');
  const ids = Array.from({ length: versions }, () => ({ stackId: randomUUID(), versionId: randomUUID() }));
  for (const { stackId, versionId } of ids) {
    const deliverableId = randomUUID();
    yield happened('DeliverableCreated', {
      deliverableId,
      stages: [stageOf(stackId, 'edit', [], 'READY')],
    });
    yield happened('VersionOpened', { versionId, stackId, deliverableId });
    yield happened('VersionUploaded', { versionId, stackId, deliverableId, number: 1, supersedes: null });
  }
  for (let written = 2 + versions * 3; written < events; written += 2) {
    const on = ids[(written >> 1) % versions]!;
    const commentId = randomUUID();
    yield happened('CommentAdded', { ...on, commentId, text: `Note ${written}: the horizon tilts to the left here` });
    yield happened('AnnotationAdded', { ...on, annotationId: randomUUID(), commentId });
  }
}
