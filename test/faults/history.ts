import { deliverableDecider, type DeliverableCommand, type DeliverableState } from '#libs/domain/index.js';
import {
  categories,
  isRefusal,
  type AnyEvent,
  type DomainEvent,
  type RecordedEvent,
} from '#libs/events/catalogue/index.js';
import type { EventLog } from '#libs/events/log/index.js';

type Recorded = { [T in AnyEvent['type']]: RecordedEvent<Extract<AnyEvent, { type: T }>> }[AnyEvent['type']];

/** Refusals are on record elsewhere: `audit-` streams hold no effect of a command. */
const EFFECTS = categories.filter((category) => category !== 'audit');

/** What subscribers of a stack are not told. */
const UNSEEN: readonly AnyEvent['type'][] = ['VersionOpened'];

/** Everything in the log, as far as it was read, with what must hold of it whatever is killed. */
export class History {
  readonly events: Recorded[] = [];
  readonly #byCommand = new Map<string, Recorded[]>();
  readonly #ids = new Set<string>();
  #position: bigint | null = null;

  constructor(private readonly log: EventLog) {}

  /** Reads on to the end of the log. Resolves to what is wrong with what came: events doubled, commands half written. */
  async catchUp(): Promise<string[]> {
    const wrong: string[] = [];
    const touched = new Set<string>();
    for await (const recorded of this.log.readAll({ after: this.#position, categories: EFFECTS })) {
      const event = recorded as Recorded;
      if (this.#position !== null && event.position <= this.#position)
        wrong.push(`the log went back from ${this.#position} to ${event.position}`);
      this.#position = event.position;
      this.events.push(event);
      if (this.#ids.has(event.id)) wrong.push(`event ${event.id} (${event.type}) is in the log twice`);
      this.#ids.add(event.id);
      const command = `${event.stream} ${event.metadata.commandId}`;
      const written = this.#byCommand.get(command);
      if (written) written.push(event);
      else this.#byCommand.set(command, [event]);
      touched.add(command);
    }
    for (const command of touched) {
      const written = this.#byCommand.get(command)!;
      const { count } = written[0]!.metadata;
      const indexes = written.map(({ metadata }) => metadata.index);
      if (written.length !== count || indexes.some((index, i) => index !== i))
        wrong.push(`command ${command} has events ${indexes.join()} of ${count}`);
    }
    return wrong;
  }

  /** Events that name the command as theirs. */
  ofCommand(commandId: string): Recorded[] {
    return this.events.filter(({ metadata }) => metadata.commandId === commandId);
  }

  /** What a subscriber of the stack who resumes after a position must have been told, in order. */
  ofStack(stackId: string, after: bigint): string[] {
    return this.events
      .filter(({ position, type, data }) => {
        const about = data as { stackId?: string; stageId?: string };
        return position > after && !UNSEEN.includes(type) && (about.stackId ?? about.stageId) === stackId;
      })
      .map(({ position, type }) => `${position} ${type}`);
  }

  /** Versions that joined a stack, and how often each was transcoded. */
  transcodes(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const event of this.events) {
      if (event.type === 'VersionUploaded') counts.set(event.data.versionId, counts.get(event.data.versionId) ?? 0);
      if (event.type === 'TranscodeCompleted')
        counts.set(event.data.versionId, (counts.get(event.data.versionId) ?? 0) + 1);
    }
    return counts;
  }

  /** Job cards that did not move as the deciders say of the versions and decisions in the log. */
  jobCards(): string[] {
    const states = new Map<string, DeliverableState>();
    const expected = new Map<string, DomainEvent[]>();
    const actual = new Map<string, DomainEvent[]>();
    const happen = (deliverableId: string, type: string, data: object): void => {
      const state = states.get(deliverableId) ?? null;
      const meta = { ...META, organisationId: state?.organisationId ?? META.organisationId };
      const command = { type, data: { deliverableId, ...data }, meta } as DeliverableCommand;
      const decided = deliverableDecider.decide(command, state);
      if (isRefusal(decided)) return;
      states.set(
        deliverableId,
        decided.reduce((folded, event) => deliverableDecider.evolve(folded, event), state),
      );
      expected.get(deliverableId)!.push(...decided);
    };
    for (const event of this.events) {
      switch (event.type) {
        case 'DeliverableCreated':
          states.set(event.data.deliverableId, deliverableDecider.evolve(null, { type: event.type, data: event.data }));
          expected.set(event.data.deliverableId, []);
          actual.set(event.data.deliverableId, []);
          break;
        case 'VersionUploaded': {
          const { deliverableId, stackId: stageId, versionId } = event.data;
          happen(deliverableId, 'RecordStageUpload', { stageId, versionId });
          break;
        }
        case 'VersionWithdrawn': {
          const { deliverableId, stackId: stageId, versionId, current } = event.data;
          happen(deliverableId, 'RecordStageWithdrawal', { stageId, versionId, currentVersionId: current });
          break;
        }
        case 'VersionOutcomeChanged': {
          const { deliverableId, stackId: stageId, versionId, to: outcome } = event.data;
          happen(deliverableId, 'RecordStageOutcome', { stageId, versionId, outcome });
          break;
        }
        default:
          if (event.stream.startsWith('deliverable-'))
            actual.get(event.stream.slice('deliverable-'.length))!.push({ type: event.type, data: event.data });
      }
    }
    return [...expected].flatMap(([id, should]) => {
      const [is, ought] = [actual.get(id)!, should].map((events) => events.map(told));
      const at = ought!.findIndex((event, i) => event !== is![i]);
      if (at < 0 && is!.length === ought!.length) return [];
      const i = at < 0 ? ought!.length : at;
      return [
        `deliverable ${id}: event ${i} of its job cards is ${is![i] ?? 'missing'}, should be ${ought![i] ?? 'none'}`,
      ];
    });
  }
}

const META = {
  commandId: '00000000-0000-4000-8000-000000000000',
  organisationId: '00000000-0000-4000-8000-000000000000',
  actor: { userId: null, role: 'SERVICE' },
  at: '2026-01-01T00:00:00.000Z',
  correlationId: '',
  causationId: '',
};

const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : value !== null && typeof value === 'object'
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, part]) => [key, sorted(part)]),
        )
      : value;
const told = ({ type, data }: DomainEvent): string => `${type} ${JSON.stringify(sorted(data))}`;
