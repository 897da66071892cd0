// A page of a list into its items, as its bytes arrive: no more of it is held than the item that is under way.

import type { IncomingMessage } from 'node:http'

import { VethflowError } from '../../errors.js'
import { type Fields, fields } from '../object.js'
import { brokeOff, MOST_BYTES } from './event-lines.js'
import type { Projection } from './projection.js'
import { breathe } from './turn.js'

/** Most of a page outside of its items. */
const MOST_ENVELOPE = 2 ** 20
/** Most items of one answer: a server may take no notice of the limit. */
const MOST_ITEMS = 500_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_LIST = 0x5b
const CLOSE_OBJECT = 0x7d
const OPEN_OBJECT = 0x7b
const EITHER = 0x20

/**
 * Calls `item` for each item, synchronously as bytes arrive, with what `projection` takes of it; resolves with the rest
 * of the list (`metadata` above all). Errors that `item` throws end it. The answer is destroyed in any case.
 *
 * @throws VethflowError KUBERNETES_ANSWER when it is not a list, or breaks off.
 */
export function readPage(
  response: IncomingMessage,
  projection: Projection,
  item: (object: unknown) => void,
): Promise<Fields> {
  const splitter = new ItemSplitter((bytes) => item(projection.read(bytes)))
  return new Promise((resolve, reject) => {
    let failed = false
    const fail = (error: unknown) => {
      failed = true
      response.destroy()
      reject(error)
    }
    response.on('data', (chunk: Buffer) => {
      if (failed) return
      try {
        splitter.take(chunk)
        breathe(response)
      } catch (error) {
        fail(error)
      }
    })
    response.on('end', () => {
      if (failed) return
      try {
        resolve(splitter.end())
      } catch (error) {
        fail(error)
      }
    })
    response.on('error', (error) => fail(brokeOff('list', error)))
    response.on('close', () => {
      if (!response.complete) fail(new VethflowError('KUBERNETES_ANSWER', 'the page broke off'))
    })
    response.resume()
  })
}

/** Cuts the elements of the member `items` out of an object's JSON, over any number of chunks. */
export class ItemSplitter {
  readonly #item: (bytes: Buffer) => void
  /** All but the items, as text: a list with an empty one. */
  #envelope = ''
  /** Earlier chunks' part of the item that is under way. */
  #pieces: Buffer[] = []
  #size = 0
  #items = 0
  #depth = 0
  #inItems = false
  #inString = false
  #escaped = false

  constructor(item: (bytes: Buffer) => void) {
    this.#item = item
  }

  take(chunk: Buffer): void {
    const end = chunk.length
    let inString = this.#inString
    let depth = this.#depth
    /** Where what has not been handed on begins. */
    let start = 0
    let at = 0
    while (at < end) {
      const byte = chunk[at++]!
      if (inString) {
        if (this.#escaped) this.#escaped = false
        else if (byte === BACKSLASH) this.#escaped = true
        else if (byte === QUOTE) inString = false
      } else if (byte === QUOTE) inString = true
      else if ((byte | EITHER) === OPEN_OBJECT) {
        depth++
        if (byte !== OPEN_LIST || depth !== 2 || this.#inItems) continue
        this.#keep(chunk, start, at)
        start = at
        this.#inItems = /(?<!\\)"items"\s*:\s*\[$/.test(this.#envelope)
      } else if ((byte | EITHER) === CLOSE_OBJECT) {
        depth--
        if (!this.#inItems || depth !== 1) continue
        this.#finish(chunk, start, at - 1, true)
        start = at - 1
        this.#inItems = false
      } else if (byte === COMMA && this.#inItems && depth === 2) {
        this.#finish(chunk, start, at - 1, false)
        start = at
      }
    }
    this.#inString = inString
    this.#depth = depth
    if (start === end) return
    if (!this.#inItems) this.#keep(chunk, start, end)
    else {
      this.#pieces.push(chunk.subarray(start, end))
      this.#size += end - start
      if (this.#size > MOST_BYTES) throw wrong(`an object of more than ${MOST_BYTES} bytes`)
    }
  }

  /** The list without its items. */
  end(): Fields {
    let parsed: Fields
    try {
      parsed = fields(JSON.parse(this.#envelope) as unknown)
    } catch (cause) {
      throw new VethflowError('KUBERNETES_ANSWER', 'the API server sent a page that is not JSON', { cause })
    }
    if (!Array.isArray(parsed.items) && parsed.items !== null) throw wrong('a page without items')
    return parsed
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    this.#envelope += chunk.toString('latin1', start, end)
    if (this.#envelope.length > MOST_ENVELOPE) throw wrong('a list with more than its items in it')
  }

  #finish(chunk: Buffer, start: number, end: number, last: boolean): void {
    const part = chunk.subarray(start, end)
    const bytes = this.#pieces.length === 0 ? part : Buffer.concat([...this.#pieces, part])
    this.#pieces = []
    this.#size = 0
    // Of an empty list there is nothing between its brackets.
    if (last && this.#items === 0 && isBlank(bytes)) return
    if (++this.#items > MOST_ITEMS) throw wrong(`a page of more than ${MOST_ITEMS} objects`)
    this.#item(bytes)
  }
}

function isBlank(bytes: Buffer): boolean {
  return /^\s*$/.test(bytes.toString('latin1', 0, 4096))
}

function wrong(what: string): VethflowError {
  return new VethflowError('KUBERNETES_ANSWER', `the API server sent ${what}`)
}
