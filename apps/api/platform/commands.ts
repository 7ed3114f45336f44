import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  can,
  categoryOf,
  commandSchemas,
  deciders,
  streamIdOf,
  type CommandData,
  type CommandInput,
  type CommandType,
  type Permission,
} from '#libs/domain/index.js';
import {
  deriveCommandId,
  hashCommand,
  refuse,
  type Command,
  type CommandMeta,
  type Decider,
  type DomainEvent,
  type Refusal,
} from '#libs/events/catalogue/index.js';
import { LogUnavailable, type CommandExecutor, type Outcome, type RefusalAuditor } from '#libs/events/log/index.js';
import { Access, ACCESS_EVENTS } from './access.js';
import { forbidden, viewerOf, type RequestContext } from './context.js';
import { isUuid } from './read-store.js';
import { refusalError, toRefusalObject, type RefusalObject } from './refusals.js';

export interface CommandInputBase {
  commandId?: string | null;
  expectedRevision?: number | null;
}

/** What every mutation answers: refusals, or the position of what was written. */
export interface MutationResult {
  errors: RefusalObject[];
  position: string | null;
}

/** From an input to the executor: identity, permission, schema, decision, audit. */
@Injectable()
export class Commands {
  constructor(
    readonly executor: CommandExecutor,
    private readonly access: Access,
    private readonly audit: RefusalAuditor,
  ) {}

  /** The envelope of a command of this request. @throws UNAUTHENTICATED, INVALID_COMMAND_ID */
  meta(context: RequestContext, input: CommandInputBase): CommandMeta {
    const viewer = viewerOf(context);
    return {
      ...this.anonymousMeta(context, input),
      organisationId: viewer.organisationId,
      actor: { userId: viewer.userId, role: viewer.role },
    };
  }

  /** The envelope before it is known for whom: no organisation, nobody acting. @throws INVALID_COMMAND_ID */
  anonymousMeta(context: RequestContext, input: CommandInputBase): CommandMeta {
    const given = input.commandId ?? undefined;
    if (given !== undefined && !isUuid(given))
      throw refusalError(refuse('INVALID_COMMAND_ID', 'A command id is a UUID.', { path: ['input', 'commandId'] }));
    const commandId = given?.toLowerCase() ?? randomUUID();
    return {
      commandId,
      minted: given === undefined,
      organisationId: '',
      actor: { userId: null, role: 'SERVICE' },
      at: new Date().toISOString(),
      correlationId: commandId,
      causationId: commandId,
      expectedRevision: input.expectedRevision ?? undefined,
      origin: context.origin,
    };
  }

  /** Ids of what a command creates follow from the command's, so that a repeat names the same things. */
  newId(meta: CommandMeta, what: string): string {
    return deriveCommandId(meta.commandId, what);
  }

  /** Null when the role has the permission. The refusal is on record. */
  async lacks(meta: CommandMeta, permission: Permission, type: string, target: string): Promise<Refusal | null> {
    if (can(meta.actor.role, permission)) return null;
    return this.refused(meta, type, target, forbidden(permission));
  }

  /** Put a refusal of the edge on record and hand it on. */
  async refused(meta: CommandMeta, type: string, target: string, refusal: Refusal): Promise<Refusal> {
    await this.audit({ type, data: {}, meta }, target, hashCommand(type, {}), refusal);
    return refusal;
  }

  /** What is wrong with a command's input; for those whose first step may only be taken when the later ones can be. */
  check<T extends CommandType>(type: T, input: CommandInput<T>): Refusal | null {
    const parsed = commandSchemas[type].safeParse(input);
    return parsed.success ? null : invalidInput(parsed.error.issues[0]!);
  }

  /** Validate against the domain's schema and execute. */
  async send<T extends CommandType>(meta: CommandMeta, type: T, input: CommandInput<T>): Promise<Outcome<unknown>> {
    const parsed = commandSchemas[type].safeParse(input);
    if (!parsed.success) {
      const refusal = invalidInput(parsed.error.issues[0]!);
      await this.refused(meta, type, categoryOf(type), refusal);
      return { ok: false, refusal, repeated: false };
    }
    const command: Command<T, CommandData<T>> = { type, data: parsed.data as CommandData<T>, meta };
    const decider = deciders[categoryOf(type)] as unknown as Decider<unknown, Command, DomainEvent>;
    try {
      const outcome = await this.executor.execute(decider, streamIdOf(command), command);
      if (outcome.ok && outcome.events.some((e) => ACCESS_EVENTS.has(e.type))) this.access.raise(outcome.position);
      return outcome;
    } catch (error) {
      throw error instanceof LogUnavailable ? unavailable() : error;
    }
  }

  /** The payload of a command that was decided: refusals, or the position with the ids of what it touched. */
  async answer<Ids extends object>(
    context: RequestContext,
    outcome: Outcome<unknown>,
    ids: Ids,
  ): Promise<MutationResult & Partial<Ids>> {
    if (!outcome.ok) return refusedPayload(outcome.refusal) as MutationResult & Partial<Ids>;
    return { ...(await this.written(context, outcome.position)), ...ids };
  }

  /** Later reads of this request see what was written. */
  async written(context: RequestContext, position: bigint): Promise<MutationResult> {
    await context.read.require(position);
    return { errors: [], position: position > 0n ? String(position) : null };
  }
}

const invalidInput = ({ message, path }: { message: string; path: PropertyKey[] }): Refusal =>
  refuse('INVALID_INPUT', message, { path: path.map((p) => (typeof p === 'symbol' ? String(p) : p)) });

export const unavailable = () =>
  refusalError(refuse('LOG_UNAVAILABLE', 'The event log cannot be reached right now; nothing is lost, try again.'));

/** A payload of refusals only. Paths of the domain are given the name of the mutation's argument. */
export function refusedPayload(...refusals: Refusal[]): MutationResult {
  return {
    position: null,
    errors: refusals.map((refusal) =>
      toRefusalObject(
        refusal.path && refusal.path[0] !== 'input' ? { ...refusal, path: ['input', ...refusal.path] } : refusal,
      ),
    ),
  };
}
