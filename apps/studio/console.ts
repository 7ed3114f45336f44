import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { operatorToken, readSecrets, type Settings } from '#libs/runtime/index.js';
import { ApiClient } from './api-client.js';
import { control, CONTROL_USAGE, isControlVerb } from './control.js';
import { runningLauncher } from './home.js';
import type { Screen } from './progress.js';
import { bytes, duration, table } from './tables.js';
import { isUpkeepVerb, upkeep, UPKEEP_USAGE } from './upkeep.js';

/** What the operator's verbs print to, and how they are told to stop. */
export interface ConsoleIo {
  readonly screen: Screen;
  readonly signal: AbortSignal;
}

interface Call {
  readonly api: ApiClient;
  readonly json: boolean;
  readonly watch: boolean;
}

interface Verb {
  readonly usage: string;
  /** Asked once, or once a second with `--watch`. */
  readonly ask: (call: Call) => Promise<object>;
  readonly show: (answer: never) => string;
}

const LAG = 'lag { events more seconds }';
interface LagAnswer {
  readonly events: number;
  readonly more: boolean;
  readonly seconds: number;
}
const lagCells = ({ events, more, seconds }: LagAnswer): [string, string] => [
  `${events}${more ? '+' : ''}`,
  duration(seconds),
];

interface StatusAnswer {
  readonly operations: {
    readonly head: string;
    readonly projections: readonly { name: string; version: number; position: string | null; lag: LagAnswer }[];
    readonly parked: number;
    readonly parkedAccess: number;
    readonly reactions: readonly { name: string; position: string; parked: number; lag: LagAnswer }[];
    readonly queues: readonly {
      name: string;
      waiting: number;
      delayed: number;
      active: number;
      failed: number;
      newestFailures: readonly { id: string; reason: string }[];
    }[];
    readonly subscribers: { followers: number; catchingUp: number; waiting: number };
  };
}

const VERBS: Record<string, Verb> = {
  status: {
    usage: 'status [--watch]      projections, reactions, queues and subscribers, with how far each lags',
    ask: ({ api }) =>
      api.graphql<StatusAnswer>(`{ operations {
        head
        projections { name version position ${LAG} }
        parked parkedAccess
        reactions { name position parked ${LAG} }
        queues { name waiting delayed active failed newestFailures { id reason } }
        subscribers { followers catchingUp waiting }
      } }`),
    show: ({ operations: { head, projections, parked, parkedAccess, reactions, queues, subscribers } }: StatusAnswer) =>
      [
        `The log ends at ${head}.`,
        table(
          ['projection', 'version', 'position', 'lag', 'behind'],
          projections.map(({ name, version, position, lag }) => [name, version, position, ...lagCells(lag)]),
        ),
        ...(parked > 0 ? [`! ${parked} events are parked or wait: picturelock parked`] : []),
        ...(parkedAccess > 0
          ? [`! ALARM: ${parkedAccess} of them guard access: somebody may see what they no longer should`]
          : []),
        table(
          ['reaction', 'position', 'lag', 'behind', 'parked'],
          reactions.map(({ name, position, lag, parked: aside }) => [name, position, ...lagCells(lag), aside]),
        ),
        table(
          ['queue', 'waiting', 'delayed', 'active', 'failed'],
          queues.map(({ name, waiting, delayed, active, failed }) => [name, waiting, delayed, active, failed]),
        ),
        ...queues.flatMap(({ newestFailures }) => newestFailures.map(({ id, reason }) => `  ✗ ${id}: ${reason}`)),
        `${subscribers.followers} subscribers, ${subscribers.catchingUp} of them catching up, ${subscribers.waiting} messages waiting`,
      ].join('\n\n'),
  },
  lag: {
    usage: 'lag [--watch]         how far each is behind the log, in events and seconds',
    ask: ({ api }) =>
      api.graphql<LagsAnswer>(`{ operations {
        head projections { name position ${LAG} } reactions { name position ${LAG} } } }`),
    show: ({ operations: { head, projections, reactions } }: LagsAnswer) =>
      table(
        ['follower', 'kind', 'position', 'of', 'lag', 'behind'],
        [
          ...projections.map((one) => ({ ...one, kind: 'projection' })),
          ...reactions.map((one) => ({ ...one, kind: 'reaction' })),
        ].map(({ name, kind, position, lag }) => [name, kind, position, head, ...lagCells(lag)]),
      ),
  },
  log: {
    usage: 'log                   what is in the log: events by type and organisation',
    ask: ({ api }) =>
      api.graphql<LogAnswer>(`{ logStatistics {
        position events readModelBytes
        types { type events lastAt }
        organisations { id name events lastAt }
      } }`),
    show: ({ logStatistics: { position, events, readModelBytes, types, organisations } }: LogAnswer) =>
      [
        `${events} domain events up to position ${position}; the read models take ${bytes(Number(readModelBytes))}.`,
        table(
          ['event', 'count', 'last'],
          types.map(({ type, events: count, lastAt }) => [type, count, lastAt]),
        ),
        table(
          ['organisation', 'name', 'events', 'last'],
          organisations.map(({ id, name, events: count, lastAt }) => [id, name, count, lastAt]),
        ),
      ].join('\n\n'),
  },
};

interface Follower {
  readonly name: string;
  readonly position: string | null;
  readonly lag: LagAnswer;
}
interface LagsAnswer {
  readonly operations: {
    readonly head: string;
    readonly projections: readonly Follower[];
    readonly reactions: readonly Follower[];
  };
}
interface LogAnswer {
  readonly logStatistics: {
    readonly position: string;
    readonly events: number;
    readonly readModelBytes: string;
    readonly types: readonly { type: string; events: number; lastAt: string }[];
    readonly organisations: readonly { id: string; name: string; events: number; lastAt: string }[];
  };
}

export const isConsoleVerb = (command: string): boolean =>
  Object.hasOwn(VERBS, command) || isControlVerb(command) || isUpkeepVerb(command);

/** For the usage text: a line for each verb. */
export const CONSOLE_USAGE = [
  ...Object.values(VERBS).map(({ usage }) => `  ${usage}`),
  CONTROL_USAGE,
  UPKEEP_USAGE,
].join('\n');

/**
 * One of the operator's verbs, asked of the running api with the installation's own token. Resolves to the exit code.
 * @throws Error when nothing runs, or the api refuses
 */
export async function consoleVerb(command: string, args: string[], settings: Settings, io: ConsoleIo): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      watch: { type: 'boolean' },
      url: { type: 'string' },
      reason: { type: 'string' },
      throttle: { type: 'string' },
      detach: { type: 'boolean' },
      all: { type: 'boolean' },
      yes: { type: 'boolean' },
    },
  });
  const api = new ApiClient(values.url ?? runningApi(settings), io.signal, operatorOf(settings));
  const json = values.json ?? false;
  if (isControlVerb(command)) return control(command, { api, io, args: positionals, json, options: values });
  if (isUpkeepVerb(command)) return upkeep(command, { api, io, args: positionals, json, options: values });
  const verb = VERBS[command]!;
  const call: Call = { api, json, watch: values.watch ?? false };
  for (;;) {
    const answer = await verb.ask(call);
    const text = call.json ? JSON.stringify(Object.values(answer)[0]) : verb.show(answer as never);
    io.screen.write(`${call.watch && io.screen.isTTY && !call.json ? '\u001b[H\u001b[2J' : ''}${text}\n`);
    if (!call.watch) return 0;
    await sleep(1000, undefined, { signal: io.signal }).catch(() => undefined);
    if (io.signal.aborted) return 0;
  }
}

/** Address of the api that runs on a home. @throws Error when none does */
export function runningApi({ home }: Settings): string {
  const url = runningLauncher(home)?.url;
  if (!url) throw new Error(`Picturelock does not run on ${home}: start it, or name its address with --url`);
  return url;
}

/** The installation's own token. @throws Error when the home has no keys */
export function operatorOf({ home }: Settings): string {
  const key = process.env['MASTER_KEY'] || readSecrets(home)?.masterKey;
  if (!key) throw new Error(`${home} has no keys yet: start Picturelock once, or set MASTER_KEY`);
  return operatorToken(Buffer.from(key, 'base64url'));
}
