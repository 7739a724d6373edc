/** @jsxImportSource hono/jsx */

/** What is asked once before anything is done. */
export interface ConfirmProps {
  readonly title: string
  /** Where the form goes: `POST`. */
  readonly action: string
  readonly submit: string
  readonly back: string
  /** Whether it ends or removes something. */
  readonly danger?: boolean
  /** What happens when it is done. */
  readonly effect: unknown
  readonly fields?: unknown
  /** Whether there is anything to do; without it the form has no button. */
  readonly possible?: boolean
}

/** A form that says what it will do. With scripts it is shown in a dialog, without them it is a page. */
export function Confirm({
  title,
  action,
  submit,
  back,
  danger = false,
  effect,
  fields,
  possible = true,
}: ConfirmProps) {
  return (
    <form class="confirm" method="post" action={action} data-confirm="">
      <h1>{title}</h1>
      <div class="effect">{effect}</div>
      {fields ?? ''}
      <div class="buttons">
        {possible ? (
          <button type="submit" class={danger ? 'danger' : 'primary'}>
            {submit}
          </button>
        ) : (
          ''
        )}
        <a class="button" href={back} data-close="">
          Go back
        </a>
      </div>
      <p class="muted small">It is recorded in the audit trail under your name before it is done.</p>
    </form>
  )
}
