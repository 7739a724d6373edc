import { masked } from './config/mask.ts'

/** What went wrong, for the log: the same error, without the passwords and tokens of URLs in what it says. */
export function loggedError(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(masked(String(error))))
  const code: unknown = Reflect.get(error, 'code')
  const logged = new Error(
    String(masked(error.message)),
    error.cause === undefined ? {} : { cause: loggedError(error.cause) },
  )
  logged.stack = String(masked(error.stack ?? ''))
  return Object.assign(logged, { name: error.name }, typeof code === 'string' ? { code } : {})
}
