// Reads the BPF ring buffer in place: consumer page and data mapped once, one view each, no copy, no object and no call
// per record. It interprets no record.
//
// Layout (kernel/bpf/ringbuf.c): page 0 holds the consumer position (ours to write), page 1 the producer position, then
// the data twice in a row, so that a record that wraps is contiguous. All pages of a mapping count as the process's own
// from the start, so the data is mapped once only, and the one record in thousands that wraps is put together in memory
// of ours. A record is an 8-byte header (length, with BUSY and DISCARD in its top bits) and its bytes, rounded up to 8.
// Positions only grow; taken modulo the size they are places.

import { VethflowError } from '../errors.js'
import { errno, kernelError, koffi } from './ffi.js'
import { libc, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE } from './libc.js'

/**
 * Takes one record: `words[wordOffset]` is its first word, `byteLength` its length. The memory is the kernel's and is
 * given back or used again after the call: copy what is to be kept.
 */
export type RecordSink = (words: Uint32Array, wordOffset: number, byteLength: number) => void

const BUSY = 0x80000000 | 0
const DISCARD = 0x40000000
const LENGTH = 0x3fffffff
/** The consumer position is published at least this often, so that the kernel can go on. */
const PUBLISH_BYTES = 64 * 1024

/** A mapped ring. Made from the map's file descriptor, which may be closed after. Closed by whoever opened it. */
export class Ring {
  readonly size: number
  private readonly pageSize: number
  private consumerAddress: bigint
  private producerAddress: bigint
  private consumerPosition: BigUint64Array
  private producerPosition: BigUint64Array
  private words: Uint32Array
  private headers: Int32Array
  /** How far we have read. */
  private position: number
  /** A record that wraps, put together. */
  private wrapped = new Uint32Array(128)

  private constructor(size: number, pageSize: number, consumer: bigint, producer: bigint) {
    this.size = size
    this.pageSize = pageSize
    this.consumerAddress = consumer
    this.producerAddress = producer
    this.consumerPosition = new BigUint64Array(koffi().view(consumer, pageSize), 0, 1)
    const mapped = koffi().view(producer, pageSize + size)
    this.producerPosition = new BigUint64Array(mapped, 0, 1)
    this.words = new Uint32Array(mapped, pageSize, size / 4)
    this.headers = new Int32Array(mapped, pageSize, size / 4)
    this.position = Number(Atomics.load(this.consumerPosition, 0))
  }

  /** Maps the ring `fd` of `size` bytes (as it was made). Throws RING_MAP. */
  static open(fd: number, size: number): Ring {
    const pageSize = libc().getpagesize()
    if (size < pageSize || (size & (size - 1)) !== 0)
      throw new VethflowError('RING_MAP', `a ring of ${size} bytes is not a power of two of pages`)
    const consumer = libc().mmap(null, pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if (consumer === MAP_FAILED) throw kernelError('RING_MAP', 'map the ring buffer', errno())
    const producer = libc().mmap(null, pageSize + size, PROT_READ, MAP_SHARED, fd, pageSize)
    if (producer === MAP_FAILED) {
      const number = errno()
      libc().munmap(consumer, pageSize)
      throw kernelError('RING_MAP', 'map the ring buffer', number)
    }
    return new Ring(size, pageSize, consumer, producer)
  }

  /** Bytes that wait to be read. */
  get fill(): number {
    if (this.producerAddress === 0n) return 0
    return Number(Atomics.load(this.producerPosition, 0)) - this.position
  }

  /**
   * Gives waiting records to `sink`, at most `max`; stops at one that is still being written. Gives how many. When `sink`
   * throws, the record counts as read.
   */
  read(sink: RecordSink, max: number): number {
    if (this.producerAddress === 0n) return 0
    const { headers, words, size } = this
    const last = size / 4 - 1
    const end = Number(Atomics.load(this.producerPosition, 0))
    let position = this.position
    let published = position
    let at = (position % size) / 4
    let count = 0
    try {
      while (position < end && count < max) {
        const header = Atomics.load(headers, at)
        if ((header & BUSY) !== 0) break
        const length = header & LENGTH
        const step = (length + 15) & ~7
        const data = at + 2
        position += step
        at = (at + (step >>> 2)) & last
        if ((header & DISCARD) === 0) {
          count++
          if (data + (length >>> 2) <= last) sink(words, data, length)
          else sink(this.unwrapped(data & last, length), 0, length)
        }
        if (position - published >= PUBLISH_BYTES) {
          published = position
          Atomics.store(this.consumerPosition, 0, BigInt(position))
        }
      }
    } finally {
      this.position = position
      if (position !== published) Atomics.store(this.consumerPosition, 0, BigInt(position))
    }
    return count
  }

  /** The record that begins at word `from` and goes on at the ring's beginning. */
  private unwrapped(from: number, length: number): Uint32Array {
    const { words } = this
    const count = Math.min((length + 3) >>> 2, words.length)
    if (this.wrapped.length < count) this.wrapped = new Uint32Array(count)
    const before = Math.min(words.length - from, count)
    this.wrapped.set(words.subarray(from, from + before))
    this.wrapped.set(words.subarray(0, count - before), before)
    return this.wrapped
  }

  /** Unmaps. Idempotent; read() gives nothing from then on, and the views are let go before the memory. */
  close(): void {
    if (this.producerAddress === 0n) return
    const { consumerAddress, producerAddress } = this
    this.consumerAddress = 0n
    this.producerAddress = 0n
    this.consumerPosition = new BigUint64Array(1)
    this.producerPosition = new BigUint64Array(1)
    this.words = new Uint32Array()
    this.headers = new Int32Array()
    libc().munmap(producerAddress, this.pageSize + this.size)
    libc().munmap(consumerAddress, this.pageSize)
  }
}
