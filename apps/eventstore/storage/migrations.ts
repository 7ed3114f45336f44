/**
 * The schema's history. A migration that was released never changes; a new one is added at the end. The database
 * remembers how many were applied, and a database that remembers more than there are was written by a newer version.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE eventstore.events (
    position    bigint      PRIMARY KEY,
    stream      text        COLLATE "C" NOT NULL,
    revision    bigint      NOT NULL,
    event_id    uuid        NOT NULL,
    type        text        COLLATE "C" NOT NULL,
    is_json     boolean     NOT NULL,
    created     timestamptz NOT NULL,
    data_length integer     NOT NULL,
    frame       bytea       NOT NULL
  );
  ALTER TABLE eventstore.events ALTER COLUMN frame SET STORAGE EXTERNAL;
  CREATE UNIQUE INDEX events_by_stream ON eventstore.events (stream, revision);
  COMMENT ON TABLE eventstore.events IS 'The log. One row an event, written once; position is the global order.';
  COMMENT ON COLUMN eventstore.events.revision IS 'From 0 in each stream; 9007199254740991 is a tombstone.';
  COMMENT ON COLUMN eventstore.events.data_length IS 'Bytes of payload, the tail of frame.';
  COMMENT ON COLUMN eventstore.events.frame IS 'The gRPC message as readers get it: 5 bytes of header and a ReadResp.';

  CREATE VIEW eventstore.readable_events AS
    SELECT position, stream, revision, event_id, type, created,
           CASE WHEN is_json
                THEN convert_from(substring(frame FROM octet_length(frame) - data_length + 1), 'UTF8') END AS data
      FROM eventstore.events;
  `,
];
