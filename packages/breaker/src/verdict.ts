/** What one call says about what it called: `neutral` says nothing. */
export type Verdict = 'ok' | 'failure' | 'neutral'

/** Which errors: a code or name or alias, a class, or a question. */
export type ErrorMatcher = string | (abstract new (...args: never[]) => Error) | ((error: unknown) => boolean)

interface ErrorFields {
  readonly code?: unknown
  readonly name?: unknown
  readonly cause?: unknown
}

const aliases: Readonly<Record<string, (code: unknown) => boolean>> = {
  connection_refused: (code) => code === 'ECONNREFUSED',
  connection_timeout: (code) => code === 'ETIMEDOUT' || code === 'UND_ERR_CONNECT_TIMEOUT',
  // Class 08 is "connection exception", 57P03 "cannot connect now" (PostgreSQL, Appendix A).
  database_unavailable: (code) => code === '57P03' || (typeof code === 'string' && /^08[0-9A-Z]{3}$/.test(code)),
}

/** One question for a list of matchers; a name is looked for in `code`, `name` and `cause.code`. */
export function matching(matchers: readonly ErrorMatcher[]): (error: unknown) => boolean {
  const questions = matchers.map(question)
  return (error) => questions.some((asks) => asks(error))
}

function question(matcher: ErrorMatcher): (error: unknown) => boolean {
  if (typeof matcher === 'string') {
    const alias = Object.hasOwn(aliases, matcher) ? aliases[matcher] : undefined
    return (error) => {
      if (typeof error !== 'object' || error === null) return false
      const { code, name, cause } = error as ErrorFields
      if (code === matcher || name === matcher || alias?.(code) === true) return true
      if (typeof cause !== 'object' || cause === null) return false
      const inner = (cause as ErrorFields).code
      return inner === matcher || alias?.(inner) === true
    }
  }
  if (isErrorClass(matcher)) return (error) => error instanceof matcher
  return matcher
}

function isErrorClass(matcher: unknown): matcher is abstract new (...args: never[]) => Error {
  return matcher === Error || (typeof matcher === 'function' && matcher.prototype instanceof Error)
}
