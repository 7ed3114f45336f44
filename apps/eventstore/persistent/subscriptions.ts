import type { Logger } from 'pino';
import {
  ALL,
  decodeConfiguration,
  encodeConfiguration,
  filterOf,
  groupKey,
  nameProblem,
  settingsProblem,
} from '../core/persistent-settings.js';
import type { GroupDefinition, GroupSettings } from '../core/persistent-settings.js';
import { metadataStreamOf, SYSTEM_EVENT } from '../core/stream-metadata.js';
import type { GroupInfo } from '../protocol/persistent-messages.js';
import { rpc } from '../rpc/status.js';
import type { EventLog } from '../storage/event-log.js';
import { RunningGroup } from './running-group.js';

const CONFIGURATION = '$persistentSubscriptionConfig';
/** How often messages are looked at for their time-out and checkpoints for being due. */
const TICK_MS = 250;
const NOTHING = Buffer.alloc(0);

/** All persistent subscriptions. Changes go one after another, each stored before it is answered. */
export class PersistentSubscriptions {
  private readonly groups = new Map<string, RunningGroup>();
  private turn: Promise<unknown> = Promise.resolve();
  private readonly clock: NodeJS.Timeout;

  constructor(
    private readonly log: EventLog,
    private readonly logger: Logger,
  ) {
    this.clock = setInterval(() => {
      for (const group of this.groups.values()) group.tick();
    }, TICK_MS);
    this.clock.unref();
  }

  /** Starts what the configuration names. */
  async start(): Promise<void> {
    const last = await this.log.last(CONFIGURATION);
    if (last === undefined) return;
    let definitions: GroupDefinition[] = [];
    try {
      definitions = decodeConfiguration(last.data);
    } catch (error) {
      // Somebody else wrote it. The log must be served all the same.
      this.logger.error({ err: error, stream: CONFIGURATION }, 'persistent subscriptions can’t be read');
    }
    for (const definition of definitions) {
      const problem = nameProblem(definition);
      if (problem === undefined) await this.run(definition);
      else this.logger.error({ ...definition, settings: undefined, problem }, 'a persistent subscription can’t be run');
    }
  }

  private async run(definition: GroupDefinition): Promise<void> {
    const running = new RunningGroup(definition, this.log, this.logger);
    await running.start();
    this.groups.set(running.key, running);
  }

  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.turn.then(change);
    this.turn = result.catch(() => undefined);
    return result;
  }

  create(source: string, group: string, settings: GroupSettings, by: string): Promise<void> {
    return this.inTurn(async () => {
      const definition = await this.define(source, group, settings);
      if (this.groups.has(groupKey(source, group))) throw rpc.persistentSubscriptionExists(source, group);
      await this.store([...this.definitions(), definition], by);
      await this.run(definition);
    });
  }

  /** Drops the consumers; the place in the source and the parked messages stay. */
  update(source: string, group: string, settings: GroupSettings, by: string): Promise<void> {
    return this.inTurn(async () => {
      const old = this.find(source, group);
      const definition = await this.define(source, group, { ...settings, filter: old.definition.settings.filter });
      const others = this.definitions().filter((other) => other !== old.definition);
      await this.store([...others, definition], by);
      old.stop();
      await this.run(definition);
    });
  }

  remove(source: string, group: string, by: string): Promise<void> {
    return this.inTurn(async () => {
      const old = this.find(source, group);
      const others = this.definitions().filter((other) => other !== old.definition);
      await this.store(others, by);
      this.groups.delete(old.key);
      old.stop();
      await old.forget();
    });
  }

  /** Stops all and starts them from what is stored. */
  restart(): Promise<void> {
    return this.inTurn(async () => {
      for (const group of this.groups.values()) group.stop();
      this.groups.clear();
      await this.start();
    });
  }

  private definitions(): GroupDefinition[] {
    return [...this.groups.values()].map((group) => group.definition);
  }

  private async define(source: string, group: string, settings: GroupSettings): Promise<GroupDefinition> {
    const badName = nameProblem({ source, group });
    if (badName !== undefined) throw rpc.invalidArgument(badName);
    const endAtCreation = source === ALL ? this.log.head : (await this.log.readableStream(source)).lastRevision;
    const definition = { source, group, settings, endAtCreation };
    try {
      filterOf(settings);
    } catch (error) {
      throw rpc.invalidArgument(error instanceof Error ? error.message : String(error));
    }
    const problem = settingsProblem(definition, this.log.head);
    if (problem !== undefined) throw rpc.persistentSubscriptionFailed(source, group, problem);
    return definition;
  }

  private async store(definitions: GroupDefinition[], by: string): Promise<void> {
    const { metadata } = await this.log.readableStream(CONFIGURATION);
    if (metadata.maxCount === undefined) {
      const data = Buffer.from(JSON.stringify({ $maxCount: 2 }));
      await this.append(metadataStreamOf(CONFIGURATION), SYSTEM_EVENT.metadata, data);
    }
    await this.append(CONFIGURATION, '$PersistentConfig', encodeConfiguration(definitions, new Date(), by));
  }

  private async append(stream: string, type: string, data: Buffer): Promise<void> {
    const result = await this.log.append(stream, { type, isJson: true, data, metadata: NOTHING });
    if (result.result === 'unavailable') throw rpc.unavailable(result.reason);
    if (result.result !== 'written') throw rpc.internal(`the configuration can't be written: ${result.result}`);
  }

  /** Throws the NOT_FOUND of the protocol. */
  find(source: string, group: string): RunningGroup {
    const found = this.groups.get(groupKey(source, group));
    if (found === undefined) throw rpc.persistentSubscriptionDoesNotExist(source, group);
    return found;
  }

  /** Of one source or of all; a source that has none is NOT_FOUND. */
  async list(source: string | undefined): Promise<GroupInfo[]> {
    const wanted = [...this.groups.values()].filter((group) => [undefined, group.definition.source].includes(source));
    if (source !== undefined && wanted.length === 0) throw rpc.noPersistentSubscription(source);
    return Promise.all(wanted.map((group) => group.info()));
  }

  async close(): Promise<void> {
    clearInterval(this.clock);
    await this.turn;
    for (const group of this.groups.values()) group.stop(false);
  }
}
