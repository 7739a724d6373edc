import { type Column, columns, endedBadly, isNumber } from './run-row.ts'

/** Forwards only; one text a version. */
export const migrations: readonly string[] = [
  `CREATE TABLE gw_run (
    id text COLLATE "C" PRIMARY KEY, request_id text, operation text NOT NULL, version text NOT NULL, method text NOT NULL,
    route text NOT NULL, principal text, subject text, status text NOT NULL, owner text, fence bigint NOT NULL, revision bigint NOT NULL,
    attempt bigint NOT NULL, recoveries bigint NOT NULL, stage text, progress double precision, data text, reason text, wake_at bigint,
    cancel_requested bigint NOT NULL, signals bigint NOT NULL, links text NOT NULL, idempotency_seed text, settled bigint NOT NULL,
    expires_at bigint, created_at bigint NOT NULL, updated_at bigint NOT NULL, crc bigint NOT NULL
  ) WITH (fillfactor = 80);
  CREATE INDEX gw_run_running ON gw_run (owner, id) WHERE status = 'running';
  CREATE INDEX gw_run_queued ON gw_run (id) WHERE status = 'queued';
  CREATE INDEX gw_run_waiting ON gw_run (wake_at) WHERE status = 'waiting';
  CREATE INDEX gw_run_parked ON gw_run (id) WHERE status = 'parked';
  CREATE INDEX gw_run_unsettled ON gw_run (id) WHERE settled = 0 AND status IN ('completed', 'failed', 'cancelled', 'dead');
  CREATE INDEX gw_run_expires ON gw_run (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX gw_run_operation ON gw_run (operation, id);
  CREATE INDEX gw_run_principal ON gw_run (principal, id);
  CREATE INDEX gw_run_request ON gw_run (request_id) WHERE request_id IS NOT NULL;
  CREATE TABLE gw_run_payload (
    run text COLLATE "C" NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, head text NOT NULL, body text, bytes bytea,
    crc bigint NOT NULL, PRIMARY KEY (run, seq)
  );
  CREATE TABLE gw_run_count (status text NOT NULL, runs bigint NOT NULL);
  CREATE TABLE gw_run_node (owner text COLLATE "C" PRIMARY KEY, expires_at timestamptz NOT NULL);
  CREATE TABLE gw_run_watch (run text COLLATE "C" PRIMARY KEY);`,
  ['waiting', ...endedBadly]
    .map((status) => `CREATE INDEX gw_run_all_${status} ON gw_run (id) WHERE status = '${status}';`)
    .join('\n'),
]

/** Where the store's news are told. */
export const channel = 'gw_run'

/** `SELECT` of every column that a run's row has. */
export const selected: string = [...columns, 'crc'].map((name) => `r.${name}`).join(', ')

/** The columns of a batch of rows as `json_to_recordset` wants them. */
export const recordset: string = [...columns.map((name) => `${name} ${typeOf(name)}`), 'crc bigint'].join(', ')

/** `UPDATE` of every column but the key, from a row named `n`. */
export const assigned: string = [...columns.slice(1), 'crc'].map((name) => `${name} = n.${name}`).join(', ')

/** `INSERT` columns, and the same from a row named `n`. */
export const inserted: string = [...columns, 'crc'].join(', ')
export const given: string = [...columns, 'crc'].map((name) => `n.${name}`).join(', ')

function typeOf(name: Column): string {
  if (name === 'progress') return 'double precision'
  return isNumber(name) ? 'bigint' : 'text'
}
