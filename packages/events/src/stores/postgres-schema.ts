/** The tables of a log in PostgreSQL, one text a version. */
export const postgresMigrations: readonly string[] = [
  `CREATE TABLE gw_event (
    position bigint NOT NULL, xid xid8, stream text COLLATE "C" NOT NULL, version bigint NOT NULL, time bigint NOT NULL,
    id text COLLATE "C" NOT NULL UNIQUE, type text COLLATE "C" NOT NULL, actor text COLLATE "C", subject text COLLATE "C",
    request_id text COLLATE "C", correlation_id text COLLATE "C", causation_id text COLLATE "C", traceparent text COLLATE "C",
    occurred_at bigint, schema_version integer NOT NULL, redaction integer NOT NULL, data text NOT NULL,
    hash bytea NOT NULL, crc bigint NOT NULL, PRIMARY KEY (position), UNIQUE (stream, version));
  CREATE INDEX gw_event_order ON gw_event (xid, position) WHERE xid IS NOT NULL;
  CREATE INDEX gw_event_time ON gw_event (time, position);
  CREATE INDEX gw_event_type ON gw_event (type, position);
  CREATE INDEX gw_event_actor ON gw_event (actor, position) WHERE actor IS NOT NULL;
  CREATE INDEX gw_event_subject ON gw_event (subject, position) WHERE subject IS NOT NULL;
  CREATE INDEX gw_event_request ON gw_event (request_id, position) WHERE request_id IS NOT NULL;
  CREATE SEQUENCE gw_event_position;
  CREATE TABLE gw_event_retired (stream text COLLATE "C" PRIMARY KEY, version bigint NOT NULL);
  CREATE TABLE gw_event_base (one boolean PRIMARY KEY DEFAULT true CHECK (one), position bigint NOT NULL, time bigint NOT NULL,
    hash bytea NOT NULL);
  CREATE TABLE gw_event_register (name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, value text NOT NULL);
  CREATE FUNCTION gw_event_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF TG_OP = 'DELETE' AND current_setting('gw.retention', true) = 'on' THEN RETURN OLD; END IF;
    RAISE EXCEPTION 'gw_event takes appends only' USING ERRCODE = 'insufficient_privilege';
  END $$;
  CREATE TRIGGER gw_event_append_only BEFORE UPDATE OR DELETE ON gw_event FOR EACH ROW EXECUTE FUNCTION gw_event_append_only();
  CREATE TRIGGER gw_event_no_truncate BEFORE TRUNCATE ON gw_event FOR EACH STATEMENT EXECUTE FUNCTION gw_event_append_only();`,
]

const roleForm = /^[a-z_][a-z0-9_]{0,62}$/

/**
 * The statements that let `role` append to a log and read it, and neither change nor delete an event: give the role to the
 * gateway, and keep the owner's for migrations and retention. Throws `TypeError` for a name that would need quotes.
 */
export function postgresAppendOnlyGrants(role: string): string {
  if (!roleForm.test(role))
    throw new TypeError(`Expected \`role\` to be lower-case letters, digits and _, got \`${role}\``)
  return `REVOKE ALL ON gw_event, gw_event_retired, gw_event_base, gw_event_register FROM ${role};
GRANT SELECT, INSERT ON gw_event TO ${role};
GRANT SELECT ON gw_event_retired, gw_event_base TO ${role};
GRANT SELECT, INSERT, UPDATE, DELETE ON gw_event_register TO ${role};
GRANT USAGE, SELECT ON SEQUENCE gw_event_position TO ${role};`
}
