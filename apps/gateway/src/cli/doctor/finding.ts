/** What one check came to. */
export interface Finding {
  readonly check: string
  /** `warning` works and should be looked at; `failed` does not work, or loses something. */
  readonly state: 'ok' | 'warning' | 'failed'
  readonly detail: string
  /** What to do about it. */
  readonly mend?: string
}

export function ok(check: string, detail: string): Finding {
  return { check, state: 'ok', detail }
}

export function warning(check: string, detail: string, mend: string): Finding {
  return { check, state: 'warning', detail, mend }
}

export function failed(check: string, detail: string, mend: string): Finding {
  return { check, state: 'failed', detail, mend }
}
