// Kinds of events: what may happen to a message, as event streams and webhooks tell it.

export const eventKinds = ['accepted', 'attempt', 'deferred', 'delivered', 'bounced', 'expired', 'held', 'released', 'replayed', 'action'] as const
export type EventKind = (typeof eventKinds)[number]
