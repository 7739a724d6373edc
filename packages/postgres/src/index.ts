export { type ConnectOptions, connectPostgres } from './connect.ts'
export type {
  Answer,
  Lock,
  PostgresDatabase,
  PostgresDatabaseHealth,
  PostgresDatabaseOptions,
  PostgresTransaction,
  Procedure,
  Send,
} from './database.ts'
export { PostgresError, type PostgresErrorCode } from './errors.ts'
export { postgresDatabase } from './postgres-database.ts'
export type { Durability, Unit, Write } from './unit.ts'
