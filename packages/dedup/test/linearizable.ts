/** One call on a key, with when it began and ended, and what it answered. */
export interface Operation {
  readonly call: Call
  readonly answer: string
  readonly began: number
  readonly ended: number
}

export type Call =
  | { readonly kind: 'claim'; readonly token: string }
  | { readonly kind: 'release'; readonly token: string }
  | { readonly kind: 'complete'; readonly token: string; readonly status: number }
  | { readonly kind: 'get' }

/** A key as one copy of it would be. */
interface State {
  readonly token: string
  readonly status: number | undefined
}

const shown = (state: State | undefined) =>
  state === undefined ? 'none' : `${state.token} ${state.status ?? 'in flight'}`

/** What a call answers, and what it leaves, when it happens at one instant. */
function apply(state: State | undefined, call: Call): { readonly answer: string; readonly next: State | undefined } {
  const mine = call.kind !== 'get' && state?.token === call.token
  if (call.kind === 'get') return { answer: shown(state), next: state }
  if (call.kind === 'claim') {
    if (state === undefined || (mine && state.status === undefined))
      return { answer: 'claimed', next: { token: call.token, status: undefined } }
    return { answer: `held ${shown(state)}`, next: state }
  }
  if (call.kind === 'release')
    return mine && state.status === undefined ? { answer: 'ok', next: undefined } : { answer: 'stale', next: state }
  if (!mine) return { answer: 'stale', next: state }
  return { answer: 'ok', next: state.status === undefined ? { token: call.token, status: call.status } : state }
}

/**
 * Whether there is an order of the operations on one key, in keeping with real time, in which one copy of it would have answered
 * so (Wing and Gong, with the states that were tried remembered).
 */
export function isLinearizable(operations: readonly Operation[]): boolean {
  const tried = new Set<string>()
  const search = (done: number, left: number, state: State | undefined): boolean => {
    if (left === 0) return true
    const mark = `${done} ${shown(state)}`
    if (tried.has(mark)) return false
    tried.add(mark)
    // Whatever comes next began before all that is not done had ended.
    let firstEnd = Number.POSITIVE_INFINITY
    for (const [i, { ended }] of operations.entries()) if ((done & (1 << i)) === 0) firstEnd = Math.min(firstEnd, ended)
    for (const [i, { call, answer, began }] of operations.entries()) {
      if ((done & (1 << i)) !== 0 || began > firstEnd) continue
      const { answer: expected, next } = apply(state, call)
      if (expected === answer && search(done | (1 << i), left - 1, next)) return true
    }
    return false
  }
  if (operations.length > 30) throw new Error('Expected at most 30 operations on a key')
  return search(0, operations.length, undefined)
}
