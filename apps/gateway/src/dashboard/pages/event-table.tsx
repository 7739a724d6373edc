/** @jsxImportSource hono/jsx */
import type { EventRecord } from '@gw/events'
import { When } from '../view/when.tsx'

/** What a table of events shows of each. */
export type LogEvent = Pick<EventRecord, 'position' | 'type' | 'actor' | 'subject' | 'stream' | 'time' | 'data'>

/** Events as rows, newest first. */
export function EventTable({ events }: { readonly events: readonly LogEvent[] }) {
  return (
    <table class="grid cards rows">
      <caption class="visually-hidden">Events, newest first</caption>
      <thead>
        <tr>
          <th scope="col" class="number">
            Position
          </th>
          <th scope="col">Type</th>
          <th scope="col">Actor</th>
          <th scope="col">Subject</th>
          <th scope="col">Data</th>
          <th scope="col">Time</th>
        </tr>
      </thead>
      <tbody>
        {events.map(({ position, type, actor, subject, stream, time, data }) => (
          <tr id={`event-${position}`}>
            <td data-label="Position" class="number tight">
              #{position}
            </td>
            <th scope="row" class="lead-cell tight">
              <a href={`/audit/${position}`}>{type}</a>
              {stream === 'audit' ? '' : <span class="muted small"> in {stream}</span>}
            </th>
            <td data-label="Actor" class="wrap">
              {actor ?? <span class="muted">the gateway</span>}
            </td>
            <td data-label="Subject" class="wrap">
              <Subject subject={subject} />
            </td>
            <td data-label="Data" class="reason">
              <span class="clip mono">{JSON.stringify(data)}</span>
            </td>
            <td data-label="Time" class="tight">
              <When at={Date.parse(time)} short />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

const runId = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** What an event is about, as a link where it is a request. */
export function Subject({ subject }: { readonly subject: string | null }) {
  if (subject === null) return <span class="muted">nothing by name</span>
  if (!runId.test(subject)) return <>{subject}</>
  return (
    <a class="id" href={`/requests/${subject}`}>
      {subject}
    </a>
  )
}
