// The heap of the C library, where libbpf's memory and that of typed arrays lies: what is free is given back to the
// kernel instead of being kept for the next time. Does nothing where the library is not glibc.

import { libc } from './libc.js'

/** malloc.h */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3

/**
 * Blocks from this size on are mappings of their own, which go back to the kernel when they are freed. glibc begins with
 * the same and raises it up to 32 MiB with each such block that is freed (mallopt(3)); from then on, tables and buffers
 * that are gone leave holes in its heap. Naming a value keeps it.
 */
const OWN_MAPPING_BYTES = 128 * 1024

/** Fixes what glibc would adapt. Call it once, early. */
export function keepHeapSmall(): void {
  libc().mallopt?.(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
  libc().mallopt?.(M_TRIM_THRESHOLD, OWN_MAPPING_BYTES)
}

/** Gives free pages of the heap back. Takes about a millisecond: for after something large and rare. */
export function returnFreeMemory(): void {
  libc().malloc_trim?.(0)
}
