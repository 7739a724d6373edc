/** What one node tells of one breaker, and what it asks for. */
export interface ClusterRequest {
  readonly node: string
  /** The generation that the node knows. Votes for another are not counted. */
  readonly generation: number
  /** The node's own breaker has opened, for so long. */
  readonly voteOpenMs?: number
  /** The node's own breaker has closed: its vote is void. */
  readonly withdraw: boolean
  /** Distinct nodes whose votes open the cluster. */
  readonly quorum: number
  /** How long a vote counts. */
  readonly voteMs: number
  /** How long a failed trial opens it for. */
  readonly openMs: number
  /** Trials in the whole cluster while half-open, and the good ones that close it. */
  readonly trials: number
  /** How long a trial's place is kept without a word from its node. */
  readonly leaseMs: number
  /** Trials that callers here are waiting to make. */
  readonly wanted: number
  /** Places held, to be kept for another `leaseMs`. */
  readonly held: readonly string[]
  readonly settled: readonly SettledProbe[]
  /** Calls and failures since the last exchange, for the cluster's figures. */
  readonly calls: number
  readonly failures: number
  /** Closes the cluster, whatever it is. */
  readonly close: boolean
}

/** A trial that is over, or a place given back (`neutral`). */
export interface SettledProbe {
  readonly token: string
  readonly generation: number
  readonly verdict: 'ok' | 'failure' | 'neutral'
}

/** How the cluster stands. */
export interface ClusterState {
  /** Grows with every change of `state`. */
  readonly generation: number
  readonly state: 'closed' | 'open' | 'half_open'
  /** How long it stays open, from now. */
  readonly remainingMs: number
  /** The nodes whose votes count at the moment. */
  readonly votes: readonly string[]
  /** Places that this request was given. */
  readonly granted: readonly string[]
  /** A node wants a place while all are held. */
  readonly contended: boolean
  /** Calls and failures of all nodes since it last closed. */
  readonly calls: number
  readonly failures: number
}

/**
 * Where nodes keep what they know of one breaker together.
 *
 * The laws:
 *
 * 1. `exchange` is one atomic step on the store's own clock; absolute times never leave the store.
 * 2. The cluster opens at `quorum` votes of distinct nodes within `voteMs`, and only for votes of its present generation.
 * 3. While half-open, the places given out and the good trials together are never more than `trials`.
 * 4. What is settled for a place that is not held, or for an earlier generation, changes nothing; so a repeat is harmless.
 * 5. An exchange that changes nothing writes nothing.
 */
export interface BreakerStore {
  exchange(name: string, request: ClusterRequest): Promise<ClusterState>
  /** Tells `listener` the name of each breaker whose state changed. Resolves to a function that ends it. */
  watch?(listener: (name: string) => void): Promise<() => Promise<void>>
}
