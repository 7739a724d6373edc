export type { Database, DatabaseHealth, DatabaseOptions, StoreDatabase } from './database.ts'
export { SqliteError, type SqliteErrorCode } from './errors.ts'
export { type FaultPorts, openDatabase } from './open-database.ts'
export type { Connection, Durability, Procedures, Reader, SqlValue, Unit, Write } from './unit.ts'
