/** @jsxImportSource hono/jsx */

/** One labelled text of a filter. */
export function TextFilter({
  name,
  label,
  value,
  placeholder,
  type = 'text',
  search = false,
  grow = false,
  list,
}: {
  readonly name: string
  readonly label: string
  readonly value: string | undefined
  readonly placeholder?: string
  readonly type?: 'text' | 'search' | 'datetime-local'
  /** Whether the key `/` leads here. */
  readonly search?: boolean
  readonly grow?: boolean
  readonly list?: readonly string[]
}) {
  const id = `filter-${name}`
  return (
    <div class={grow ? 'field grow' : 'field'}>
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        type={type}
        value={value ?? ''}
        placeholder={placeholder}
        autocomplete="off"
        spellcheck={false}
        step={type === 'datetime-local' ? '1' : undefined}
        list={list === undefined ? undefined : `${id}-list`}
        data-search={search ? '' : undefined}
      />
      {list === undefined ? (
        ''
      ) : (
        <datalist id={`${id}-list`}>
          {list.map((each) => (
            <option value={each} />
          ))}
        </datalist>
      )}
    </div>
  )
}

/** One labelled choice of a filter. */
export function ChoiceFilter({
  name,
  label,
  value,
  choices,
}: {
  readonly name: string
  readonly label: string
  readonly value: string | undefined
  readonly choices: readonly (readonly [value: string, text: string])[]
}) {
  const id = `filter-${name}`
  const known = value === undefined || choices.some(([each]) => each === value)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} name={name}>
        {known ? (
          ''
        ) : (
          <option value={value} selected>
            {value.replaceAll(',', ', ')}
          </option>
        )}
        {choices.map(([each, text]) => (
          <option value={each} selected={each === (value ?? '')}>
            {text}
          </option>
        ))}
      </select>
    </div>
  )
}
