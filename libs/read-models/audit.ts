import 'reflect-metadata';
import { Check, Entity, Index, PrimaryColumn } from 'typeorm';
import { ROLES, type Role } from '#libs/events/catalogue/index.js';
import { Int, Json, oneOf, schemaName, Text, Time, Uuid } from './columns.js';
import type { ReadModel } from './model.js';

const name = 'audit';
const version = 2;
const schema = schemaName(name, version);

/** One command: accepted, by the first event it wrote, or refused. What it changed is folded from its stream when asked. */
@Entity({ schema, name: 'entry' })
@Check('entry_actor_role', oneOf('actor_role', ROLES))
@Index('entry_organisation', ['organisationId', 'position'])
@Index('entry_organisation_time', ['organisationId', 'recordedAt'])
@Index('entry_entity', ['entityId', 'position'], { where: '"entity_id" IS NOT NULL' })
@Index('entry_actor', ['actorUserId', 'position'], { where: '"actor_user_id" IS NOT NULL' })
@Index('entry_refused', ['organisationId', 'code', 'position'], { where: '"code" IS NOT NULL' })
export class AuditRow {
  /** Log position of the command's first event, or of the record of its refusal. */
  @PrimaryColumn({ name: 'position', type: 'bigint' }) position: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('command_id') commandId: string;
  /** The command's type; the first event's for commands from before it was kept. */
  @Text('type') type: string;
  @Uuid('actor_user_id', { nullable: true }) actorUserId: string | null;
  @Text('actor_role') actorRole: Role;
  /** Ciphertext under the actor's key: worth nothing once they are forgotten. */
  @Text('origin', { nullable: true }) origin: string | null;
  /** Category of the stream, as in `version`. */
  @Text('entity_type') entityType: string;
  @Uuid('entity_id', { nullable: true }) entityId: string | null;
  /** Revision of the first event and number of events; null and 0 when refused. */
  @Int('revision', { nullable: true }) revision: number | null;
  @Int('events') events: number;
  /** The refusal's; null when accepted. */
  @Text('code', { nullable: true }) code: string | null;
  @Text('message', { nullable: true }) message: string | null;
  @Json('path', { nullable: true }) path: (string | number)[] | null;
  /** The command's own time. */
  @Time('at') at: Date;
  /** The log's, to the second. */
  @Time('recorded_at') recordedAt: Date;
}

export const audit: ReadModel = {
  name,
  version,
  schema,
  entities: [AuditRow],
  appendOnly: true,
  partitions: 2,
  categories: [
    'organisation',
    'user',
    'pipelineTemplate',
    'project',
    'deliverable',
    'versionStack',
    'version',
    'versionMedia',
    'comparison',
    'audit',
  ],
};
