// Pieces that the routes of the HTTP API share.

import { z } from '@hono/zod-openapi'
import { errorSchema, idSchema } from './schemas.ts'

const meanings = {
  400: 'The request cannot be read.', 401: 'No valid token.', 403: 'The token lacks the scope.', 404: 'There is no such message.',
  409: 'It makes no sense in the state that things are in; the error says why.', 410: 'Its body is no longer kept.', 413: 'The message is too large.',
  415: 'Not the type of content that is taken here.', 422: 'The request is wrong; the error says where.', 503: 'It cannot be done now; try again later.',
} as const

type Code = keyof typeof meanings

/** Error responses for a route; each has a body of the one form. */
export function answers(...codes: Code[]): Record<Code, { description: string; content: { 'application/json': { schema: typeof errorSchema } } }> {
  return Object.fromEntries(codes.map((code) => [code, { description: meanings[code], content: { 'application/json': { schema: errorSchema } } }])) as never
}

export function jsonBody<T extends z.ZodType>(schema: T) {
  return { required: true, content: { 'application/json': { schema } } }
}

export function ok<T extends z.ZodType>(description: string, schema: T) {
  return { 200: { description, content: { 'application/json': { schema } } } }
}

export const idParameter = z.object({ id: idSchema })
