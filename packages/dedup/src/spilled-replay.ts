import type { CompletedRecord } from './answer-cache.ts'
import { type ReplayRequest, replayResponse } from './replay.ts'
import { type SpillStore, spillField } from './spill.ts'

/** The stored answer with its body from where it was spilled; `undefined` when it is not there, or the client refuses its coding. */
export async function replaySpilled(
  record: CompletedRecord,
  request: ReplayRequest,
  spill: SpillStore | undefined,
): Promise<Response | undefined> {
  const name = record.response.headers.find(([field]) => field === spillField)?.[1]
  if (name === undefined || spill === undefined) return undefined
  const body = await spill.read(name)
  if (body === undefined) return undefined
  const answer = replayResponse(record, request, body)
  if (answer === undefined) await body.cancel()
  return answer
}
