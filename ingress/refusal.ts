// A refusal on the wire: smtp-server takes an Error with a reply code; ours carries its enhanced code in the text.

/** `code` 4xx or 5xx, `text` beginning with its enhanced code (RFC 3463). */
export function refusal(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code })
}
