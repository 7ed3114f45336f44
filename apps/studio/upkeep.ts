import { setTimeout as sleep } from 'node:timers/promises';
import { type Control, ERRORS, usage, write } from './control.js';
import { Progress } from './progress.js';
import { bytes, type Cell, duration, table } from './tables.js';

export const UPKEEP_USAGE = `  reactions             what turns events into jobs and commands: position, lag, the event that is stuck
  reactions parked [reaction]                          events that one could not process, and those that wait for them
  reactions retry <reaction> <position>                try it again
  reactions skip <reaction> <position> --reason text   leave it out for good
  subscriptions         who follows changes by which socket, since when, how far (of the api that is asked: --url)
  snapshots             folded states of long streams: how many, how large
  snapshots drop [stream | --all]                      fold from the first event until there are new ones
  as-of                 moments that are built for queries with X-As-Of
  as-of build <organisation> <position | time>         have one built, and wait for it   [--detach]
  as-of drop <id>                                      before its time is over
  erase <person> --yes  forget a person for ever: name, e-mail and addresses; cannot be undone`;

const UPKEEP = ['reactions', 'subscriptions', 'snapshots', 'as-of', 'erase'] as const;
export type UpkeepVerb = (typeof UPKEEP)[number];
export const isUpkeepVerb = (verb: string): verb is UpkeepVerb => UPKEEP.some((one) => one === verb);

/** @throws Error when the words make no sense, or the api refuses */
export function upkeep(verb: UpkeepVerb, call: Control): Promise<number> {
  switch (verb) {
    case 'reactions':
      return reactions(call);
    case 'subscriptions':
      return subscriptions(call);
    case 'snapshots':
      return snapshots(call);
    case 'as-of':
      return asOf(call);
    case 'erase':
      return erase(call);
  }
}

interface ParkedReaction {
  readonly reaction: string;
  readonly position: string;
  readonly state: string;
  readonly eventType: string;
  readonly stream: string;
  readonly error: string | null;
  readonly attempts: number;
  readonly retryAt: string | null;
  readonly reason: string | null;
}
const PARKED = 'reaction position state eventId eventType stream revision error attempts retryAt reason parkedAt';

async function reactions(call: Control): Promise<number> {
  const { api, args, options } = call;
  const [verb, reaction, position] = args;
  if (verb === 'retry' || verb === 'skip') {
    if (!reaction || !position) throw usage(`reactions ${verb} <reaction> <position>`);
    if (verb === 'skip' && !options.reason) throw usage('reactions skip <reaction> <position> --reason text');
    const type = verb === 'retry' ? 'ReactionEventInput' : 'SkipReactionEventInput';
    const input = { reaction, position, ...(verb === 'skip' ? { reason: options.reason } : {}) };
    await api.graphql(`mutation ($input: ${type}!) { ${verb}Reaction(input: $input) { ${ERRORS} } }`, { input });
    return write(call, input, `${reaction} will ${verb === 'retry' ? 'try' : 'leave out'} the event at ${position}.`);
  }
  const { operations, parkedReactions } = await api.graphql<{
    operations: {
      reactions: {
        name: string;
        position: string;
        parked: number;
        lag: { events: number; more: boolean; seconds: number };
      }[];
    };
    parkedReactions: ParkedReaction[];
  }>(
    `query ($reaction: String) {
       operations { reactions { name position parked lag { events more seconds } } }
       parkedReactions(reaction: $reaction) { ${PARKED} } }`,
    { reaction: verb === 'parked' ? (reaction ?? null) : null },
  );
  if (verb === 'parked') {
    if (parkedReactions.length === 0) return write(call, parkedReactions, 'No reaction has parked an event.');
    const rows = parkedReactions.map((one): Cell[] => [
      one.reaction,
      one.position,
      one.state,
      one.eventType,
      one.stream,
      one.attempts,
      one.retryAt,
      one.reason ?? one.error?.split('\n')[0],
    ]);
    const head = ['reaction', 'position', 'state', 'event', 'stream', 'tries', 'again', 'why'];
    return write(call, parkedReactions, table(head, rows));
  }
  if (verb !== undefined) throw usage('reactions [parked | retry | skip]');
  const stuck = (name: string) => parkedReactions.find((one) => one.reaction === name && one.state === 'PARKED');
  const rows = operations.reactions.map(({ name, position: at, parked, lag }): Cell[] => [
    name,
    at,
    `${lag.events}${lag.more ? '+' : ''}`,
    duration(lag.seconds),
    parked,
    stuck(name) ? `${stuck(name)!.eventType} at ${stuck(name)!.position}: ${stuck(name)!.error?.split('\n')[0]}` : null,
  ]);
  const answer = operations.reactions.map((one) => ({ ...one, stuck: stuck(one.name) ?? null }));
  return write(call, answer, table(['reaction', 'position', 'lag', 'behind', 'parked', 'stuck at'], rows));
}

async function subscriptions(call: Control): Promise<number> {
  const { subscribers } = await call.api.graphql<{
    subscribers: {
      process: string;
      socket: string;
      userId: string;
      name: string | null;
      topic: string;
      topicId: string;
      since: string;
      position: string;
      waiting: number;
      catchingUp: boolean;
    }[];
  }>('{ subscribers { process socket userId name topic topicId since position waiting catchingUp } }');
  if (subscribers.length === 0) return write(call, subscribers, 'Nobody follows changes.');
  const rows = subscribers.map((one): Cell[] => [
    one.process,
    one.socket.slice(0, 8),
    one.name ?? one.userId,
    `${one.topic} ${one.topicId}`,
    one.since,
    one.position,
    one.waiting,
    one.catchingUp ? 'catches up' : 'live',
  ]);
  const head = ['process', 'socket', 'person', 'follows', 'since', 'position', 'waiting', 'state'];
  return write(call, subscribers, table(head, rows));
}

async function snapshots(call: Control): Promise<number> {
  const { api, args, options } = call;
  const [verb, stream] = args;
  if (verb === 'drop') {
    // What is cheap to say should not be what costs every long stream a fold.
    if (stream === undefined ? !options.all : options.all)
      throw usage('snapshots drop <stream>, or snapshots drop --all');
    const { dropStreamSnapshots } = await api.graphql<{ dropStreamSnapshots: { dropped: number } }>(
      `mutation ($input: DropSnapshotsInput!) { dropStreamSnapshots(input: $input) { dropped ${ERRORS} } }`,
      { input: { stream: stream ?? null } },
    );
    return write(call, dropStreamSnapshots, `${dropStreamSnapshots.dropped} snapshots dropped.`);
  }
  if (verb !== undefined) throw usage('snapshots [drop]');
  const { streamSnapshots } = await api.graphql<{
    streamSnapshots: {
      snapshots: number;
      bytes: string;
      largest: { stream: string; revision: number; bytes: number; takenAt: string }[];
    };
  }>('{ streamSnapshots { snapshots bytes largest { stream revision bytes takenAt } } }');
  const { largest } = streamSnapshots;
  const text = [
    `${streamSnapshots.snapshots} snapshots of ${bytes(Number(streamSnapshots.bytes))}.`,
    ...(largest.length === 0
      ? []
      : [
          table(
            ['stream', 'revision', 'size', 'taken'],
            largest.map((one) => [one.stream, one.revision, bytes(one.bytes), one.takenAt]),
          ),
        ]),
  ].join('\n\n');
  return write(call, streamSnapshots, text);
}

interface Moment {
  readonly id: string;
  readonly organisationId: string;
  readonly position: string;
  readonly state: 'REQUESTED' | 'BUILDING' | 'READY' | 'FAILED';
  readonly failure: string | null;
  readonly expiresAt: string;
  readonly bytes: string;
}
const MOMENT = 'id organisationId position state failure expiresAt bytes';
const showMoments = (moments: readonly Moment[]): string =>
  table(
    ['id', 'organisation', 'position', 'state', 'size', 'until', 'failure'],
    moments.map((one) => [
      one.id,
      one.organisationId,
      one.position,
      one.state,
      bytes(Number(one.bytes)),
      one.expiresAt,
      one.failure?.split('\n')[0],
    ]),
  );

async function asOf(call: Control): Promise<number> {
  const { api, args } = call;
  const [verb, first, second] = args;
  if (verb === 'drop') {
    if (!first) throw usage('as-of drop <id>');
    await api.graphql(`mutation ($input: DropAsOfInput!) { dropAsOf(input: $input) { ${ERRORS} } }`, {
      input: { id: first },
    });
    return write(call, { id: first }, 'Its time is over.');
  }
  if (verb === 'build') {
    if (!first || !second) throw usage('as-of build <organisation> <position | time>');
    return build(call, first, second);
  }
  if (verb !== undefined) throw usage('as-of [build | drop]');
  const { asOfMoments } = await api.graphql<{ asOfMoments: Moment[] }>(`{ asOfMoments { ${MOMENT} } }`);
  return write(call, asOfMoments, asOfMoments.length === 0 ? 'No moment is built.' : showMoments(asOfMoments));
}

/** Asks until it is there, which also keeps it. Exit code 1 when it could not be made. */
async function build(call: Control, organisationId: string, moment: string): Promise<number> {
  const progress = new Progress(call.io.screen, call.json);
  progress.step('building');
  for (;;) {
    const { buildAsOf } = await call.api.graphql<{ buildAsOf: { moment: Moment } }>(
      `mutation ($input: BuildAsOfInput!) { buildAsOf(input: $input) { moment { ${MOMENT} } ${ERRORS} } }`,
      { input: { organisationId, moment } },
    );
    const { state } = buildAsOf.moment;
    if (state === 'READY' || state === 'FAILED' || call.options.detach || call.io.signal.aborted) {
      progress.done();
      write(call, buildAsOf.moment, showMoments([buildAsOf.moment]));
      return state === 'FAILED' ? 1 : 0;
    }
    progress.detail(state.toLowerCase());
    await sleep(500, undefined, { signal: call.io.signal }).catch(() => undefined);
  }
}

async function erase(call: Control): Promise<number> {
  const [userId] = call.args;
  if (!userId) throw usage('erase <person> --yes');
  if (!call.options.yes)
    throw new Error(`This forgets ${userId} for ever and can't be undone. Say so: picturelock erase ${userId} --yes`);
  const { forgetPerson } = await call.api.graphql<{ forgetPerson: { position: string | null } }>(
    `mutation ($input: ForgetPersonInput!) { forgetPerson(input: $input) { position ${ERRORS} } }`,
    { input: { userId } },
  );
  return write(call, forgetPerson, `${userId} is forgotten. What disks still hold goes within a minute or so.`);
}
