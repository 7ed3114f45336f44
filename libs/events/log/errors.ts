/** The log could not answer in time or could not be reached. The outcome of a write is unknown until it is read back. */
export class LogUnavailable extends Error {
  readonly code = 'LOG_UNAVAILABLE';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
  }
}

/** An event that the catalogue does not know or whose data does not fit its schema: a defect, never written. */
export class InvalidEvent extends Error {
  readonly code = 'INVALID_EVENT';
}

/** More bytes than the store takes in one append. Nothing was written. */
export class AppendTooLarge extends Error {
  readonly code = 'APPEND_TOO_LARGE';
}
