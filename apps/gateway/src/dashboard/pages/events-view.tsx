/** @jsxImportSource hono/jsx */
import type { z } from 'zod'
import type { EventShape } from '../../admin/event-shapes.ts'
import { When } from '../view/when.tsx'

/** An event as the admin API gives it. */
export type ShownEvent = z.infer<typeof EventShape>

/** Events one under the other, newest first. */
export function EventList({ events }: { readonly events: readonly ShownEvent[] }) {
  return (
    <ol class="event-list">
      {events.toReversed().map((event) => (
        <li id={`event-${event.position}`}>
          <a href={`/audit/${event.position}`}>{event.type}</a>
          <When at={Date.parse(event.time)} short />
          <span class="muted small wrap">{event.actor ?? 'the gateway'}</span>
          <span class="muted small">#{event.position}</span>
        </li>
      ))}
    </ol>
  )
}
