import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { replaceFile } from '../replace-file.ts'
import type { KeptSession, SessionKeeping } from './sessions.ts'

interface Kept {
  readonly access: string
  readonly sessions: readonly KeptSession[]
}

/**
 * Keeps sessions in a file of the directory, for the tokens that are configured: with another token there, none of them is taken over.
 * A file that cannot be read or written costs a log-in and no more.
 */
export function sessionFile(
  directory: string,
  tokens: readonly (string | undefined)[],
  onError: (error: unknown) => void,
): SessionKeeping {
  const file = join(directory, 'admin-sessions.json')
  const access = createHash('sha256')
    .update(JSON.stringify(tokens.map((token) => token ?? null)))
    .digest('base64url')
  return {
    load() {
      try {
        const kept = JSON.parse(readFileSync(file, 'utf8')) as Kept
        return kept.access === access && Array.isArray(kept.sessions) ? kept.sessions.filter(isSession) : []
      } catch {
        return []
      }
    },
    save(sessions) {
      try {
        replaceFile(file, JSON.stringify({ access, sessions } satisfies Kept))
      } catch (error) {
        onError(error)
      }
    },
  }
}

function isSession(value: unknown): value is KeptSession {
  const { digest, role, usedAt } = (value ?? {}) as Partial<KeptSession>
  return typeof digest === 'string' && (role === 'read' || role === 'operate') && typeof usedAt === 'number'
}
