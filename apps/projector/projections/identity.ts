import { ERASED_PERSON, REDACTED } from '#libs/events/catalogue/index.js';
import { identity as model, OrganisationRow, UserRow } from '#libs/read-models/index.js';
import type { Projection } from '../projection.js';

export const identity: Projection = {
  model,
  begin: ({ bulk }) => ({
    on: {
      OrganisationCreated: ({ data, metadata, revision }) =>
        bulk.insert(OrganisationRow, {
          id: data.organisationId,
          name: data.name,
          createdAt: metadata.at,
          revision,
        }),
      UserRegistered: ({ data, metadata, revision, position }) =>
        bulk.insert(UserRow, {
          id: data.userId,
          organisationId: data.organisationId,
          name: data.name,
          email: data.email,
          role: data.role,
          active: true,
          position: String(position),
          createdAt: metadata.at,
          revision,
        }),
      UserRoleChanged: ({ data, revision }) => bulk.update(UserRow, { id: data.userId }, { role: data.to, revision }),
      UserDeactivated: ({ data, revision }) => bulk.update(UserRow, { id: data.userId }, { active: false, revision }),
      // Redacted by itself: the same rows whether the key was there when the registration was read, or not.
      PersonErased: ({ data, revision }) =>
        bulk.update(UserRow, { id: data.userId }, { name: ERASED_PERSON, email: REDACTED, active: false, revision }),
      UserReactivated: ({ data, revision }) => bulk.update(UserRow, { id: data.userId }, { active: true, revision }),
    },
  }),
};
