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
  // The system projections; core/system-projections.ts decides the same for every new event.
  `
  CREATE TABLE eventstore.links (
    stream   text   COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    position bigint NOT NULL
  );
  INSERT INTO eventstore.links (stream, revision, position)
  SELECT name, row_number() OVER (PARTITION BY name ORDER BY position) - 1, position
    FROM (SELECT position, stream, revision, type,
                 CASE WHEN type = '$streamDeleted' AND NOT starts_with(stream, '$$') THEN stream
                      WHEN type = '$metadata' AND starts_with(stream, '$$')
                       AND encode(substring(frame FROM octet_length(frame) - data_length + 1), 'escape')
                           ~ '"[$]tb"\\s*:\\s*9223372036854775807' THEN substr(stream, 3) END AS deletes
            FROM eventstore.events) e
   CROSS JOIN LATERAL (
         SELECT '$ce-' || left(coalesce(deletes, stream), strpos(coalesce(deletes, stream), '-') - 1)
          WHERE strpos(coalesce(deletes, stream), '-') > 1 AND NOT starts_with(coalesce(deletes, stream), '$')
         UNION ALL SELECT '$et-' || CASE WHEN deletes IS NULL THEN type ELSE '$deleted' END WHERE type <> '$>'
         UNION ALL SELECT '$streams' WHERE revision = 0
         UNION ALL SELECT '$category-' || left(stream, strpos(stream, '-') - 1)
          WHERE revision = 0 AND strpos(stream, '-') > 1 AND NOT starts_with(stream, '$')) n(name)
   WHERE octet_length(name) <= 1024;
  ALTER TABLE eventstore.links ADD PRIMARY KEY (stream, revision);
  COMMENT ON TABLE eventstore.links IS 'Streams of links to events: $ce-, $et-, $category- and $streams.';
  COMMENT ON COLUMN eventstore.links.position IS 'The event linked to. A row stays when its event is scavenged.';
  `,
  `
  CREATE TABLE eventstore.scavenge (
    after  text    COLLATE "C" NOT NULL,
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
  );
  COMMENT ON TABLE eventstore.scavenge IS 'The stream an unfinished scavenge came to; empty when none is unfinished.';
  `,
  // A row for each link costs as much as its event does; links that are written together now share one.
  `
  ALTER TABLE eventstore.links RENAME TO single_links;
  ALTER TABLE eventstore.single_links DROP CONSTRAINT links_pkey;
  CREATE TABLE eventstore.links (
    stream    text     COLLATE "C" NOT NULL,
    revision  bigint   NOT NULL,
    positions bigint[] NOT NULL
  );
  ALTER TABLE eventstore.links ALTER COLUMN positions SET STORAGE PLAIN;
  INSERT INTO eventstore.links (stream, revision, positions)
  SELECT stream, min(revision), array_agg(position ORDER BY revision)
    FROM eventstore.single_links GROUP BY stream, revision / 200;
  DROP TABLE eventstore.single_links;
  ALTER TABLE eventstore.links ADD CONSTRAINT links_pkey PRIMARY KEY (stream, revision);
  COMMENT ON TABLE eventstore.links IS 'Streams of links to events: $ce-, $et-, $category- and $streams.';
  COMMENT ON COLUMN eventstore.links.revision IS 'Of the first link of the row; those of the others follow.';
  COMMENT ON COLUMN eventstore.links.positions IS 'The events linked to, 200 at most. They stay when an event is scavenged.';
  `,
];
