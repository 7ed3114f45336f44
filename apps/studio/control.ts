import { setTimeout as sleep } from 'node:timers/promises';
import { ApiClient } from './api-client.js';
import type { ConsoleIo } from './console.js';
import { Progress } from './progress.js';
import { type Cell, duration, table } from './tables.js';

/** What the verbs that change something are called with. */
export interface Control {
  readonly api: ApiClient;
  readonly io: ConsoleIo;
  readonly args: readonly string[];
  readonly json: boolean;
  readonly options: {
    readonly reason?: string;
    readonly throttle?: string;
    readonly detach?: boolean;
    readonly all?: boolean;
    readonly yes?: boolean;
  };
}

export const CONTROL_USAGE = `  parked [projection]   events that a projection could not process, and those that wait for them
  parked retry <projection> <position>                 try it again
  parked skip <projection> <position> --reason text    leave it out for good
  rebuild [projection…] fill read models anew beside those that are read, then swap   [--throttle events/s] [--detach]
  rebuild list          rebuilds of late, newest first
  rebuild cancel <projection>                          give it up; what is read stays
  rebuild throttle <projection> <events/s | off>       slower or faster from now on
  verify [projection…]  compare the rows that are read, one by one, with those of a clean rebuild   [--throttle] [--detach]
  verify list           verifications of late, newest first
  verify cancel <projection>                           give it up`;

const REBUILD = `id projection version state position head events eventsPerSecond secondsLeft throttle error`;
export const ERRORS = 'errors { ... on RefusalInfo { code message } }';

interface Rebuild {
  readonly id: string;
  readonly projection: string;
  readonly version: number;
  readonly state: 'REQUESTED' | 'RUNNING' | 'DONE' | 'CANCELLED' | 'FAILED';
  readonly position: string | null;
  readonly head: string | null;
  readonly events: number;
  readonly eventsPerSecond: number | null;
  readonly secondsLeft: number | null;
  readonly throttle: number | null;
  readonly error: string | null;
}

const PARKED = 'projection position state eventType stream revision error attempts reason parkedAt';
interface Parked {
  readonly projection: string;
  readonly position: string;
  readonly state: string;
  readonly eventType: string;
  readonly stream: string;
  readonly revision: number;
  readonly error: string | null;
  readonly attempts: number;
  readonly reason: string | null;
  readonly parkedAt: string;
}

const CONTROL = ['parked', 'rebuild', 'verify'] as const;
export type ControlVerb = (typeof CONTROL)[number];
export const isControlVerb = (verb: string): verb is ControlVerb => CONTROL.some((one) => one === verb);

/** @throws Error when the words make no sense, or the api refuses */
export async function control(verb: ControlVerb, call: Control): Promise<number> {
  if (verb === 'verify') return verify(call);
  return verb === 'parked' ? parked(call) : rebuild(call);
}

export const usage = (text: string): Error => new Error(`Use: picturelock ${text}`);
export const write = ({ io, json }: Control, answer: unknown, text: string): number => {
  io.screen.write(`${json ? JSON.stringify(answer) : text}\n`);
  return 0;
};

async function parked(call: Control): Promise<number> {
  const { api, args, options } = call;
  const [verb, projection, position] = args;
  if (verb !== 'retry' && verb !== 'skip') return listParked(call, verb);
  if (!projection || !position) throw usage(`parked ${verb} <projection> <position>`);
  if (verb === 'skip' && !options.reason) throw usage('parked skip <projection> <position> --reason text');
  const mutation = verb === 'retry' ? 'retryParkedEvent' : 'skipParkedEvent';
  const type = verb === 'retry' ? 'ParkedEventRefInput' : 'SkipParkedEventInput';
  const answer = await api.graphql<Record<string, { event: Parked | null }>>(
    `mutation ($input: ${type}!) { ${mutation}(input: $input) { event { ${PARKED} } ${ERRORS} } }`,
    { input: { projection, position, ...(verb === 'skip' ? { reason: options.reason } : {}) } },
  );
  const { event } = answer[mutation]!;
  return write(call, event, `${projection} will ${verb === 'retry' ? 'try' : 'leave out'} the event at ${position}.`);
}

async function listParked(call: Control, projection: string | undefined): Promise<number> {
  const events: Parked[] = [];
  for (let after: string | null = null; ;) {
    const page: {
      parkedEvents: {
        edges: { node: Parked }[];
        pageInfo: { hasNextPage: boolean; endCursor: string | null };
      };
    } = await call.api.graphql(
      `query ($projection: String, $after: String) {
         parkedEvents(projection: $projection, first: 200, after: $after) {
           edges { node { ${PARKED} } } pageInfo { hasNextPage endCursor } } }`,
      { projection: projection ?? null, after },
    );
    events.push(...page.parkedEvents.edges.map(({ node }) => node));
    if (!page.parkedEvents.pageInfo.hasNextPage) break;
    after = page.parkedEvents.pageInfo.endCursor;
  }
  if (events.length === 0) return write(call, events, 'No event is parked.');
  const head = ['projection', 'position', 'state', 'event', 'stream', 'revision', 'tries', 'why'];
  const rows = events.map((event): Cell[] => [
    event.projection,
    event.position,
    event.state,
    event.eventType,
    event.stream,
    event.revision,
    event.attempts,
    event.reason ?? event.error?.split('\n')[0],
  ]);
  return write(call, events, table(head, rows));
}

async function rebuild(call: Control): Promise<number> {
  const { api, args, options } = call;
  const [verb, projection, limit] = args;
  if (verb === 'list') {
    const { rebuilds } = await api.graphql<{ rebuilds: Rebuild[] }>(`{ rebuilds { ${REBUILD} } }`);
    return write(call, rebuilds, rebuilds.length === 0 ? 'Nothing was rebuilt yet.' : showRebuilds(rebuilds));
  }
  if (verb === 'cancel' || verb === 'throttle') {
    if (!projection || (verb === 'throttle' && !limit))
      throw usage(`rebuild ${verb} <projection>${verb === 'throttle' ? ' <events/s | off>' : ''}`);
    const name = `${verb}Rebuild`;
    const input = verb === 'cancel' ? 'ProjectionRefInput' : 'ThrottleRebuildInput';
    const answer = await api.graphql<Record<string, { rebuilds: Rebuild[] }>>(
      `mutation ($input: ${input}!) { ${name}(input: $input) { rebuilds { ${REBUILD} } ${ERRORS} } }`,
      { input: { projection, ...(verb === 'throttle' ? { throttle: throttleOf(limit!) } : {}) } },
    );
    const { rebuilds } = answer[name]!;
    return write(call, rebuilds, showRebuilds(rebuilds));
  }
  const { rebuildProjections } = await api.graphql<{ rebuildProjections: { rebuilds: Rebuild[] } }>(
    `mutation ($input: RebuildProjectionsInput!) {
       rebuildProjections(input: $input) { rebuilds { ${REBUILD} } ${ERRORS} } }`,
    {
      input: {
        projections: args.length > 0 ? args : null,
        throttle: options.throttle === undefined ? null : throttleOf(options.throttle),
      },
    },
  );
  const begun = rebuildProjections.rebuilds;
  if (options.detach) return write(call, begun, `Rebuilding ${begun.map((one) => one.projection).join(', ')}.`);
  const ours = new Set(begun.map(({ id }) => id));
  const ask = async () => (await api.graphql<{ rebuilds: Rebuild[] }>(`{ rebuilds { ${REBUILD} } }`)).rebuilds;
  const ended = await follow(call, 'rebuild', async () => (await ask()).filter(({ id }) => ours.has(id)));
  if (!ended) return 130;
  write(call, ended, showRebuilds(ended));
  return ended.every(({ state }) => state === 'DONE') ? 0 : 1;
}

interface Verification extends Rebuild {
  readonly equal: boolean | null;
  readonly differences:
    readonly { table: string; missing: number; extra: number; changed: number; examples: readonly string[] }[] | null;
}
const VERIFICATION = `${REBUILD} equal differences { table missing extra changed examples }`;

/** Exit code 1 when rows differ, or it could not be told. */
async function verify(call: Control): Promise<number> {
  const { api, args, options } = call;
  const [verb, projection] = args;
  const ask = async () =>
    (await api.graphql<{ verifications: Verification[] }>(`{ verifications { ${VERIFICATION} } }`)).verifications;
  if (verb === 'list') {
    const all = await ask();
    return write(call, all, all.length === 0 ? 'Nothing was verified yet.' : showVerifications(all));
  }
  if (verb === 'cancel') {
    if (!projection) throw usage('verify cancel <projection>');
    const { cancelVerification } = await api.graphql<{ cancelVerification: { verifications: Verification[] } }>(
      `mutation ($input: ProjectionRefInput!) {
         cancelVerification(input: $input) { verifications { ${VERIFICATION} } ${ERRORS} } }`,
      { input: { projection } },
    );
    return write(call, cancelVerification.verifications, showVerifications(cancelVerification.verifications));
  }
  const { verifyProjections } = await api.graphql<{ verifyProjections: { verifications: Verification[] } }>(
    `mutation ($input: RebuildProjectionsInput!) {
       verifyProjections(input: $input) { verifications { ${VERIFICATION} } ${ERRORS} } }`,
    {
      input: {
        projections: args.length > 0 ? args : null,
        throttle: options.throttle === undefined ? null : throttleOf(options.throttle),
      },
    },
  );
  const begun = verifyProjections.verifications;
  if (options.detach) return write(call, begun, `Verifying ${begun.map((one) => one.projection).join(', ')}.`);
  const ours = new Set(begun.map(({ id }) => id));
  const ended = await follow(call, 'verify', async () => (await ask()).filter(({ id }) => ours.has(id)));
  if (!ended) return 130;
  write(call, ended, showVerifications(ended));
  return ended.every(({ equal }) => equal) ? 0 : 1;
}

const showVerifications = (all: readonly Verification[]): string =>
  [
    table(
      ['projection', 'version', 'state', 'position', 'events', 'rows', 'error'],
      all.map((one) => [
        one.projection,
        one.version,
        one.state,
        one.position,
        one.events,
        one.equal === null ? null : one.equal ? 'as they should be' : 'DIFFER',
        one.error?.split('\n')[0],
      ]),
    ),
    ...all.flatMap(({ differences }) =>
      (differences ?? []).map(
        ({ table: name, missing, extra, changed, examples }) =>
          `✗ ${name}: ${missing} missing, ${extra} too many, ${changed} changed, for instance ${examples.slice(0, 3).join(', ')}`,
      ),
    ),
  ].join('\n');

function throttleOf(text: string): number | null {
  if (text === 'off') return null;
  const throttle = Number(text);
  if (!Number.isInteger(throttle) || throttle < 1)
    throw new Error('A throttle is a whole number of events per second, at least 1, or "off".');
  return throttle;
}

const showRebuilds = (rebuilds: readonly Rebuild[]): string =>
  table(
    ['projection', 'version', 'state', 'position', 'of', 'events/s', 'left', 'throttle', 'error'],
    rebuilds.map((one) => [
      one.projection,
      one.version,
      one.state,
      one.position,
      one.head,
      one.eventsPerSecond === null ? null : Math.round(one.eventsPerSecond),
      one.secondsLeft === null ? null : duration(one.secondsLeft),
      one.throttle,
      one.error?.split('\n')[0],
    ]),
  );

/** Shows how far they are until all have ended. Undefined for who goes away, which leaves them to it. */
async function follow<T extends Rebuild>(
  call: Control,
  verb: 'rebuild' | 'verify',
  ask: () => Promise<readonly T[]>,
): Promise<readonly T[] | undefined> {
  const progress = new Progress(call.io.screen, call.json);
  progress.step(verb === 'rebuild' ? 'rebuilding' : 'verifying');
  for (;;) {
    const ours = await ask();
    const open = ours.filter(({ state }) => state === 'REQUESTED' || state === 'RUNNING');
    if (open.length === 0) {
      progress.done();
      return ours;
    }
    const share = (one: T): number =>
      open.includes(one) ? Number(one.position ?? 0) / Math.max(1, Number(one.head ?? 1)) : 1;
    const rate = open.reduce((sum, { eventsPerSecond }) => sum + (eventsPerSecond ?? 0), 0);
    const left = Math.max(...open.map(({ secondsLeft }) => secondsLeft ?? 0));
    progress.detail(
      `${open.map(({ projection }) => projection).join(', ')}, ${Math.round(rate)} events/s, ${duration(left)} left`,
      ours.reduce((sum, one) => sum + share(one), 0),
      ours.length,
    );
    await sleep(500, undefined, { signal: call.io.signal }).catch(() => undefined);
    if (call.io.signal.aborted) {
      progress.done();
      call.io.screen.write(`It goes on without you: see picturelock ${verb} list, or ${verb} cancel.\n`);
      return undefined;
    }
  }
}
