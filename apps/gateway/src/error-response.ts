import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { problem } from './problem.ts'
import { upstreamProblem } from './proxy/proxy.ts'
import { UpstreamError } from './proxy/upstream.ts'

interface Answering {
  getResponse(): Response
}

/**
 * Turns what a handler threw into an answer: an error that brings its own (`getResponse`) is asked for it, an upstream that did
 * not answer is 502 or 504, a body that is not JSON is 400 `invalid_json`, and everything else is 500 without a word of the cause.
 */
export async function errorResponse(error: Error, c: Context, onUnexpected: (error: Error) => void): Promise<Response> {
  if (error instanceof HTTPException && error.res === undefined) {
    return problem(c, error.status, codeOf(error.status), error.message || 'The request was refused')
  }
  if ('getResponse' in error) return (error as Error & Answering).getResponse()
  if (error instanceof UpstreamError) return upstreamProblem(c, error)
  if (error instanceof SyntaxError && (await isBadJson(c))) {
    return problem(c, 400, 'invalid_json', 'The body is not valid JSON')
  }
  onUnexpected(error)
  return problem(c, 500, 'internal_error', 'The request failed')
}

/** A SyntaxError may come from anywhere in a handler: only a body that really is not JSON is the client's fault. */
async function isBadJson(c: Context): Promise<boolean> {
  try {
    JSON.parse(await c.req.text())
    return false
  } catch {
    return true
  }
}

function codeOf(status: number): string {
  if (status === 400) return 'bad_request'
  if (status === 401) return 'unauthenticated'
  if (status === 403) return 'forbidden'
  if (status === 413) return 'body_too_large'
  return `http_${status}`
}
