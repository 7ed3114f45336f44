import 'reflect-metadata';
import { Check, Entity, Index, JoinColumn, ManyToOne, type Relation } from 'typeorm';
import { ROLES, type Role } from '#libs/events/catalogue/index.js';
import { BigInt64, Bool, Int, Key, oneOf, schemaName, Text, Time, Uuid } from './columns.js';
import type { ReadModel } from './model.js';

const name = 'identity';
const version = 1;
const schema = schemaName(name, version);

@Entity({ schema, name: 'organisation' })
export class OrganisationRow {
  @Key('id') id: string;
  @Text('name') name: string;
  @Time('created_at') createdAt: Date;
  /** Revision of the stream's last event. */
  @Int('revision') revision: number;
}

@Entity({ schema, name: 'user' })
@Check('user_role', oneOf('role', ROLES))
@Index('user_organisation_position', ['organisationId', 'position'])
export class UserRow {
  @Key('id') id: string;
  @Uuid('organisation_id') organisationId: string;
  @ManyToOne(() => OrganisationRow)
  @JoinColumn({ name: 'organisation_id' })
  organisation?: Relation<OrganisationRow>;
  /** Personal; `[redacted]` once the person is forgotten. */
  @Text('name') name: string;
  /** Personal; `[redacted]` once the person is forgotten. */
  @Text('email') email: string;
  @Text('role') role: Role;
  @Bool('active', { default: true }) active: boolean;
  /** Log position of the registration: the order of lists. */
  @BigInt64('position') position: string;
  @Time('created_at') createdAt: Date;
  /** Revision of the stream's last event, for `expectedRevision`. */
  @Int('revision') revision: number;
}

export const identity: ReadModel = {
  name,
  version,
  schema,
  grantsAccess: true,
  entities: [OrganisationRow, UserRow],
  categories: ['organisation', 'user'],
};
