// The search attributes by which Temporal's own UI and CLI filter the messages that wait. Names and types.

/** To be registered in the namespace; until they are, nothing is set. */
export const searchAttributes = {
  /** deferred or held while it waits; delivered or failed when it has ended. Not set for what was delivered at once. */
  EverpostStatus: 'Keyword',
  EverpostSenderDomain: 'Keyword',
  /** The next hops that deferred it. */
  EverpostDestination: 'KeywordList',
} as const
