// The defaults as an operator would write them, from the schema itself.

import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { type SettingsFile, settingsSchema } from './schema.ts'

export interface SettingSchema {
  type?: string
  /** What docs/settings.md calls a text with a unit: settings/forms.ts. */
  form?: string
  description?: string
  default?: unknown
  enum?: unknown[]
  anyOf?: SettingSchema[]
  oneOf?: SettingSchema[]
  const?: unknown
  properties?: Record<string, SettingSchema>
  additionalProperties?: SettingSchema | boolean
  items?: SettingSchema
}

/** The schema as JSON Schema, of what is written rather than of what the program sees. */
export function settingsJsonSchema(): SettingSchema {
  return z.toJSONSchema(settingsSchema, { io: 'input', unrepresentable: 'any' }) as SettingSchema
}

/** Every setting with its default, by key. */
export function defaultSettings(): Record<string, unknown> {
  return defaultOf(settingsJsonSchema()) as Record<string, unknown>
}

function defaultOf(schema: SettingSchema): unknown {
  if (schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties).map(([key, inner]) => [key, defaultOf(inner)]).filter(([, value]) => value !== undefined))
  }
  return schema.default
}

/** What is written and differs from its default. */
export function differing(written: SettingsFile): Record<string, unknown> {
  return difference(written as Record<string, unknown>, defaultSettings())
}

function difference(written: Record<string, unknown>, defaults: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(written)) {
    const fallback = defaults[key]
    if (isDeepStrictEqual(value, fallback)) continue
    const section = isMapping(value) && isMapping(fallback) && Object.keys(fallback).length > 0
    const kept = section ? difference(value, fallback) : value
    if (!section || Object.keys(kept as object).length > 0) result[key] = kept
  }
  return result
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
