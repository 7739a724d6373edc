import { EventError } from './errors.ts'
import type { EventStore } from './event-store.ts'
import type { EventRecord } from './query.ts'
import type { EventFilter } from './store.ts'
import { subscribe } from './subscription.ts'

/** An event in the form of CloudEvents 1.0, as JSON. */
export interface CloudEventJson {
  readonly specversion: '1.0'
  readonly id: string
  readonly source: string
  readonly type: string
  readonly subject: string
  readonly time: string
  readonly datacontenttype: 'application/json'
  readonly dataschema?: string
  /** The position, as extension `sequence`; texts of it compare as numbers do only at equal length. */
  readonly sequence: string
  readonly streamversion: string
  readonly correlationid?: string
  readonly causationid?: string
  readonly traceparent?: string
  readonly data: unknown
}

/** How events are named outside. */
export interface CloudEventsOptions {
  /** A URI reference for the log: `/gateway-events/<log id>`. */
  readonly source?: string
  /** The URI of an event's data schema. */
  readonly dataschema?: (event: EventRecord) => string | undefined
}

/** Maps an event: `subject` is its stream, `id` its id, `sequence` its position. */
export function cloudEventOf(
  events: EventStore,
  event: EventRecord,
  { source = `/gateway-events/${events.id}`, dataschema }: CloudEventsOptions = {},
): CloudEventJson {
  const schema = dataschema?.(event)
  return {
    specversion: '1.0',
    id: event.id,
    source,
    type: event.type,
    subject: event.stream,
    time: event.time,
    datacontenttype: 'application/json',
    ...(schema === undefined ? {} : { dataschema: schema }),
    sequence: event.position,
    streamversion: String(event.version),
    ...(event.correlationId === null ? {} : { correlationid: event.correlationId }),
    ...(event.causationId === null ? {} : { causationid: event.causationId }),
    ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
    data: event.data,
  }
}

/** The log as one JSON array in the batch format of CloudEvents (`application/cloudevents-batch+json`), in chunks. */
export async function* exportCloudEvents(
  events: EventStore,
  { filter = {}, ...options }: CloudEventsOptions & { readonly filter?: Omit<EventFilter, 'from' | 'to'> } = {},
): AsyncGenerator<string> {
  for (const name of Object.keys(options))
    if (name !== 'source' && name !== 'dataschema') throw new EventError('invalid_option', `Unknown option \`${name}\``)
  let separator = '['
  for await (const batch of subscribe(events, { live: false, batch: 1_000, filter }))
    for (const event of batch.events) {
      yield `${separator}${JSON.stringify(cloudEventOf(events, event, options))}`
      separator = ',\n'
    }
  yield separator === '[' ? '[]' : ']'
}
