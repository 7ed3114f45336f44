import type { MediaErrorCode } from '#libs/media/index.js';
import { EXECUTOR_REFUSALS } from '#libs/events/log/index.js';
import { REFUSALS } from '#libs/domain/index.js';

/**
 * Codes of the edge itself, with one line for people. Codes are stable: clients and `docs/errors.md` rely on them. What
 * the domain, the executor, media and credentials refuse with is in their own tables.
 */
export const API_ERRORS = {
  UNAUTHENTICATED: 'Sign in first: there is no session, or it has ended.',
  FORBIDDEN: 'The role does not include what is asked; `permission` names the missing permission.',
  NOT_FOUND: 'There is no such thing, or not for the caller.',
  INVALID_INPUT: 'The input does not fit; `path` names the first field at fault.',
  INVALID_COMMAND_ID: 'A command id is a UUID.',
  INVALID_AS_OF: 'A moment is a position or a time, written as one, and not both.',
  AS_OF_IN_FUTURE: 'The moment asked about is after the end of the log, or after now.',
  AS_OF_UNKNOWN_POSITION: 'No event of this log has the position: it is of another store, or was made up.',
  AS_OF_QUERIES_ONLY: 'With X-As-Of there are only queries over HTTP: the past can’t be changed or followed.',
  AS_OF_NOT_AVAILABLE: 'The query can’t be answered as of a moment; `field` names it.',
  AS_OF_QUOTA: 'The organisation has as many moments built as it may, or the room for them is used up.',
  AS_OF_FAILED: 'The read models of the moment could not be made; the projector’s log has the reason.',
  BUILDING: 'The read models of the moment are being made: ask again after `retryAfterSeconds`.',
  INVALID_PAGE: 'The arguments of a connection do not go together, are too large, or the cursor is not one of ours.',
  BAD_USER_INPUT: 'A variable or literal does not have its type; `path` names it where it is known.',
  TEXT_REQUIRED: 'Words are required here and may not be blank.',
  PROJECT_ARCHIVED: 'The project is archived: it can be read but no longer changed.',
  NOT_ASSIGNED: 'Only who is assigned to the stage may do this.',
  UPLOAD_NOT_READY: 'The upload is not finished, or was refused.',
  TRANSCODE_FAILED: 'The review copies could not be made; the reason is ffmpeg’s own.',
  SETUP_TOKEN_INVALID: 'The setup token is wrong or was used.',
  DATABASE_UNAVAILABLE: 'A database is away or is being made again; ask again, with the same command id.',
  PROJECTION_BEHIND: 'The read models have not reached the position asked for in time; ask again.',
  UNKNOWN_PROJECTION: 'There is no projection of that name; `details.known` lists them.',
  REBUILD_RUNNING: 'A rebuild of that projection is requested or running already.',
  NO_REBUILD: 'No rebuild of that projection is requested or running.',
  VERIFICATION_RUNNING: 'A verification of that projection is requested or running already.',
  NO_VERIFICATION: 'No verification of that projection is requested or running.',
  NOT_PARKED: 'No event of that projection is parked at that position.',
  NOT_PROVABLE: 'The ledger has no such event, or the log has it no more or altered.',
  POSITION_UNKNOWN: 'The position lies after the end of the log: it is of another store, or made up.',
  TOO_MANY_FEEDS: 'One person has at most so many feeds open at a time; close one first.',
  LEDGER_BEHIND: 'No checkpoint of the ledger was signed in time; the workers sign.',
  LOG_UNAVAILABLE:
    'The event log cannot be reached right now. Whether a command was written is unknown: repeat it with the same id.',
  MEDIA_FORBIDDEN: 'The signed URL is right, but its bearer may not see this any more, or not download originals.',
  METHOD_NOT_ALLOWED: 'Media and health are only read.',
  RANGE_NOT_SATISFIABLE: 'The range asked for lies outside of the file.',
  QUERY_TOO_DEEP: 'The query nests deeper than allowed.',
  QUERY_TOO_LONG: 'The query has more characters or tokens than allowed.',
  QUERY_TOO_EXPENSIVE: 'The query would touch more than allowed; ask for less at a time.',
  TOO_MANY_ALIASES: 'The query has more aliases than allowed.',
  TOO_MANY_DIRECTIVES: 'The query has more directives than allowed.',
  BATCHING_DISABLED: 'One request is one operation.',
  PAYLOAD_TOO_LARGE: 'The body of a request is too large; files go by upload.',
  BAD_REQUEST: 'The request is not GraphQL over HTTP: its body, its headers or its method.',
  GRAPHQL_PARSE_FAILED: 'The query is not GraphQL.',
  GRAPHQL_VALIDATION_FAILED: 'The query does not fit the schema.',
  INTERNAL: 'Something went wrong on our side; `correlationId` names the record of it.',
} as const satisfies Record<string, string>;

export type ApiErrorCode = keyof typeof API_ERRORS;

/** Codes of `libs/media`, as people see them. */
export const MEDIA_ERRORS = {
  UNSUPPORTED_MEDIA: 'The bytes are not of an accepted format, or hold neither picture nor sound.',
  EMPTY_FILE: 'The file has no bytes.',
  MEDIA_UNREADABLE: 'The format is accepted but the headers can’t be read.',
  TRANSCODE_FAILED: 'The review copies could not be made; the reason is ffmpeg’s own.',
  FFMPEG_MISSING: 'ffmpeg or ffprobe is not installed or can’t be started.',
  RANGE_OUTSIDE_MEDIA: 'The frames asked for are not all in the medium.',
  EXTRACTION_FAILED: 'A part of a medium could not be taken out of it whole.',
  EDITORIAL_INVALID: 'An edit list, marker list or project file breaks its format.',
  LUT_INVALID: 'A look-up table breaks its format.',
  ARCHIVE_INVALID: 'A header of an archive is damaged or contradicts itself.',
  ARCHIVE_TRUNCATED: 'A member of an archive reaches beyond its end.',
  MEMBER_NOT_FOUND: 'The archive has no such member.',
  MEMBER_NOT_READABLE: 'The member of the archive has no bytes that can be read in place.',
  NOT_COMPARABLE: 'The two media have no pictures to compare.',
  MEDIA_TIMEOUT: 'The external process passed its time limit and was killed.',
  MEDIA_STALLED: 'The external process made no progress and was killed.',
  MEDIA_CANCELLED: 'Whoever asked for it took it back.',
  FFMPEG_FAILED: 'ffmpeg or ffprobe ended with an error; the reason is its own.',
  INVALID_TIMECODE: 'The timecode is malformed or does not exist at this rate.',
  INVALID_RATE: 'The frame rate is not a positive fraction, or drop-frame does not exist for it.',
  HASH_MISMATCH: 'The bytes stored do not have the hash announced.',
  BLOB_NOT_FOUND: 'There are no such bytes in the store.',
  DISK_FULL: 'The reserve of the disk would be touched.',
  UPLOAD_QUOTA_EXCEEDED: 'The organisation’s quota of unfinished uploads would be passed.',
  UPLOAD_TOO_LARGE: 'The file is larger than files of its kind may be.',
  UPLOAD_NOT_FOUND: 'The upload is unknown, expired, used already, or somebody else’s.',
  UPLOAD_NOT_READY: 'The upload is not finished, or was refused.',
  UPLOAD_INVALID: 'The upload’s headers or metadata do not fit.',
  MEDIA_URL_EXPIRED: 'The signed URL has expired: ask for a new one.',
  MEDIA_URL_INVALID: 'The URL is not signed by this installation.',
} as const satisfies Record<MediaErrorCode, string>;

/** Codes of credentials (`libs/secrets`). */
export const CREDENTIAL_ERRORS = {
  INVALID_CREDENTIALS: 'E-mail or password is wrong.',
  LOGIN_THROTTLED: 'Too many wrong tries; `details.retryAfterSeconds` says how long to wait.',
  PASSWORD_TOO_SHORT: 'The password has too few characters.',
  PASSWORD_TOO_LONG: 'The password has too many characters.',
  EMAIL_INVALID: 'This is not an e-mail address.',
  EMAIL_TAKEN: 'Somebody has this e-mail address already.',
  CREDENTIAL_EXISTS: 'The person signs in with another e-mail address.',
  USER_UNKNOWN: 'There is no such person.',
} as const satisfies Record<string, string>;

/** Every code a client can meet, by where it comes from. */
export const ERROR_TABLES = [
  { title: 'The edge', about: 'GraphQL and HTTP, before or around a command.', codes: API_ERRORS },
  { title: 'Commands', about: 'The command executor, for any command.', codes: EXECUTOR_REFUSALS },
  { title: 'Domain', about: 'Refusals of deciders: nothing was changed.', codes: REFUSALS },
  { title: 'Media and uploads', about: 'Uploads, playback and transcodes.', codes: MEDIA_ERRORS },
  { title: 'Credentials', about: 'Signing in and registering.', codes: CREDENTIAL_ERRORS },
] as const satisfies readonly { title: string; about: string; codes: Readonly<Record<string, string>> }[];

/** `docs/errors.md`. */
export function describeErrors(): string {
  const lines = [
    '# Error codes',
    '',
    'Written by `npm run docs` from the code: change the tables there. Codes are stable. A mutation answers expected',
    'refusals in the `errors` of its payload; everything else carries its code in `extensions.code`, over HTTP in `code`.',
    'Refused commands are on record in the organisation’s audit stream.',
  ];
  for (const { title, about, codes } of ERROR_TABLES) {
    lines.push('', `## ${title}`, '', about, '', '| code | meaning |', '| --- | --- |');
    for (const code of Object.keys(codes).sort())
      lines.push(`| \`${code}\` | ${(codes as Record<string, string>)[code]!.replaceAll('|', '\\|')} |`);
  }
  return `${lines.join('\n')}\n`;
}
