/**
 * Every refusal code of the domain with one line for people. Codes are stable: clients and `docs/errors.md` rely on
 * them. A decider can refuse only with a code of this table.
 */
export const REFUSALS = {
  // Any aggregate
  NOT_FOUND: 'There is no such thing in the caller’s organisation.',
  ALREADY_EXISTS: 'The id is taken: the thing was created before.',
  ACTOR_REQUIRED: 'Only a person can do this, not the system itself.',
  FORBIDDEN: 'The role does not allow this move; `details.permission` names the missing permission.',
  TEXT_REQUIRED: 'Words are required here and may not be blank.',
  // Identity
  USER_DEACTIVATED: 'The person is deactivated: reactivate first.',
  OWN_ACCOUNT: 'Nobody changes their own role or deactivates themselves; no administrator erases themselves.',
  PERSON_ERASED: 'The person was forgotten: there is nothing left to change.',
  // Production
  PIPELINE_CYCLE: 'Stages depend on each other in a circle; `details.cycle` lists the keys in order.',
  UNKNOWN_STAGE: 'A dependency names a stage that the pipeline does not have.',
  DUPLICATE_STAGE: 'Two stages share a key or an id.',
  PROJECT_ARCHIVED: 'The project is archived: it can be read but no longer changed.',
  STAGE_NOT_FOUND: 'The deliverable has no such stage.',
  ILLEGAL_TRANSITION: 'The stage cannot go to that state from where it is; `details.legal` lists where it can go.',
  // Review
  CURRENT_VERSION_OPEN: 'The stack’s current version must be closed first; `details.currentVersionId` names it.',
  NOT_CURRENT: 'Only the current version can be withdrawn; `details.currentVersionId` names it.',
  VERSION_NOT_FOUND: 'The stack has no such version, or it was withdrawn.',
  VERSION_LOCKED: 'The version is read-only; `details.by` names the version that superseded it, if any.',
  VERSION_DECIDED: 'Somebody has decided on this version: it can be superseded but not withdrawn.',
  VERSION_WITHDRAWN: 'The version was withdrawn for good.',
  COMMENT_NOT_FOUND: 'The version has no such comment.',
  COMMENT_DELETED: 'The comment was deleted.',
  ANNOTATION_NOT_FOUND: 'The version has no such annotation.',
  REFERENCE_NOT_FOUND: 'The version has no such reference.',
  TOO_MANY_REFERENCES: 'As many references as may lie beside a version do; `details.limit` is their number.',
  DECISION_NOT_FOUND: 'The version has no such decision.',
  DECISION_SUPERSEDED: 'The decision no longer stands: a later one of the same reviewer took its place.',
  NOT_AUTHOR: 'Only the author may do this.',
  FRAME_OUT_OF_RANGE: 'The range ends after the last frame; `details.frames` is the number of frames.',
  INVALID_RANGE: 'A range ends where it begins or later.',
  NO_TIMELINE: 'A still image has no frames to point at.',
  NOTHING_TO_RETRY: 'Only a failed transcode can be tried again.',
  SAME_MEDIUM: 'A medium is not compared with itself.',
  OTHER_PROJECT: 'Only media of one project are compared.',
  NO_MOVING_PICTURE: 'Only moving pictures are compared: this is a still, or sound.',
} as const satisfies Record<string, string>;

export type RefusalCode = keyof typeof REFUSALS;
