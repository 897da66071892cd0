// Reads and deletes entries of a hash map in batches, into memory that is allocated once. It knows strides, not fields.
//
// How the kernel answers BPF_MAP_LOOKUP_BATCH on a hash (kernel/bpf/hashtab.c): whole buckets at a time; the cursor is
// the next bucket. It ends with ENOENT, and the count of that last call is good. ENOSPC means that one bucket holds more
// than the whole buffer, with nothing read. Entries that come meanwhile are read now or at the next drain; none is read
// twice, since entries do not change buckets.

import { Errno, kernelError } from './ffi.js'
import { libbpf } from './libbpf.js'

/** Entries as words: entry i is at keys[i * keyWords] and values[i * valueWords]. Valid during the call. */
export type EntrySink = (keys: Uint32Array, values: Uint32Array, count: number) => void

const BATCH = 4096
const MAX_BATCH = 1 << 20
/** More calls than any map needs: a guard against a cursor that goes round. */
const MAX_CALLS = 1 << 20

export interface DrainOptions {
  readonly fd: number
  /** Bytes. */
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  /** Use the kernel's batch calls; else key by key. */
  readonly batch: boolean
  /** Entries read at once; 4096 unless given. */
  readonly batchSize?: number
}

/** One map to be drained again and again. Holds memory only; the file descriptor stays its owner's. */
export class Drain {
  readonly keyWords: number
  readonly valueWords: number
  private readonly options: DrainOptions
  private capacity: number
  private keys: Uint32Array
  private values: Uint32Array
  private readonly cursor: readonly [Uint32Array, Uint32Array]
  private readonly count = new Uint32Array(1)

  constructor(options: DrainOptions) {
    this.options = options
    this.keyWords = options.keySize / 4
    this.valueWords = options.valueSize / 4
    this.capacity = options.batchSize ?? BATCH
    this.keys = new Uint32Array(this.capacity * this.keyWords)
    this.values = new Uint32Array(this.capacity * this.valueWords)
    // The cursor of a hash is one word; older kernels copy a key's worth for other kinds of maps.
    const words = Math.max(this.keyWords, 2)
    this.cursor = [new Uint32Array(words), new Uint32Array(words)]
  }

  /** Gives every entry to `sink`, in batches, without deleting any. Gives how many there were. */
  read(sink: EntrySink): number {
    return this.options.batch ? this.readBatches(sink) : this.readOneByOne(sink)
  }

  /** Deletes `count` keys that stand one after another in `keys`; those that are not there are passed over. */
  delete(keys: Uint32Array, count: number): number {
    return this.options.batch ? this.deleteBatches(keys, count) : this.deleteOneByOne(keys, count)
  }

  private readBatches(sink: EntrySink): number {
    const [from, to] = this.cursor
    let total = 0
    let first = true
    for (let calls = 0; calls < MAX_CALLS; calls++) {
      this.count[0] = this.capacity
      const result = libbpf().bpf_map_lookup_batch(
        this.options.fd,
        first ? null : from,
        to,
        this.keys,
        this.values,
        this.count,
        null,
      )
      if (result === -Errno.ENOSPC) {
        this.grow()
        continue
      }
      if (result === -Errno.EINTR) continue
      if (result !== 0 && result !== -Errno.ENOENT) throw kernelError('DRAIN', 'drain a map', result)
      const count = this.count[0] ?? 0
      if (count > 0) sink(this.keys, this.values, count)
      total += count
      if (result !== 0) return total
      from.set(to)
      first = false
    }
    return total
  }

  /** ENOSPC leaves the cursor where it was: the same call again with more room. */
  private grow(): void {
    if (this.capacity >= MAX_BATCH) throw kernelError('DRAIN', 'drain a map', Errno.ENOSPC)
    this.capacity *= 2
    this.keys = new Uint32Array(this.capacity * this.keyWords)
    this.values = new Uint32Array(this.capacity * this.valueWords)
  }

  private readOneByOne(sink: EntrySink): number {
    const [previous, next] = this.cursor
    const key = new Uint32Array(this.keyWords)
    const value = new Uint32Array(this.valueWords)
    const limit = this.options.maxEntries * 2
    let total = 0
    let held = 0
    let first = true
    // A key that is deleted under us makes the kernel begin anew: the limit ends what could go round for ever.
    for (let steps = 0; steps < limit; steps++) {
      const result = libbpf().bpf_map_get_next_key(this.options.fd, first ? null : previous, next)
      if (result === -Errno.ENOENT) break
      if (result !== 0) throw kernelError('DRAIN', 'walk a map', result)
      first = false
      previous.set(next)
      key.set(next.subarray(0, this.keyWords))
      const found = libbpf().bpf_map_lookup_elem(this.options.fd, key, value)
      if (found === -Errno.ENOENT) continue
      if (found !== 0) throw kernelError('DRAIN', 'read a map', found)
      this.keys.set(key, held * this.keyWords)
      this.values.set(value, held * this.valueWords)
      held++
      if (held === this.capacity) {
        sink(this.keys, this.values, held)
        total += held
        held = 0
      }
    }
    if (held > 0) sink(this.keys, this.values, held)
    return total + held
  }

  private deleteBatches(keys: Uint32Array, count: number): number {
    let deleted = 0
    for (let at = 0; at < count; ) {
      this.count[0] = count - at
      const result = libbpf().bpf_map_delete_batch(
        this.options.fd,
        keys.subarray(at * this.keyWords, count * this.keyWords),
        this.count,
        null,
      )
      if (result !== 0 && result !== -Errno.ENOENT) throw kernelError('DRAIN', 'delete from a map', result)
      const done = this.count[0] ?? 0
      deleted += done
      // ENOENT: `done` keys were deleted, the one after them is not there.
      at += result === 0 ? Math.max(done, 1) : done + 1
    }
    return deleted
  }

  private deleteOneByOne(keys: Uint32Array, count: number): number {
    let deleted = 0
    for (let at = 0; at < count; at++) {
      const key = keys.subarray(at * this.keyWords, (at + 1) * this.keyWords)
      const result = libbpf().bpf_map_delete_elem(this.options.fd, key)
      if (result === 0) deleted++
      else if (result !== -Errno.ENOENT) throw kernelError('DRAIN', 'delete from a map', result)
    }
    return deleted
  }
}
