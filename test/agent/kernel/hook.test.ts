import { describe, expect, it } from 'vitest'
import { decodeHook, hookNumber, MAX_FOREIGN_IFINDEX, MAX_NETNS } from '../../../agent/kernel/hook.js'

describe('hook numbers', () => {
  it('are ifindex and direction in the own namespace', () => {
    expect(hookNumber(7, false)).toBe(14)
    expect(hookNumber(7, true)).toBe(15)
  })

  it('set bit 31 and the namespace elsewhere, as an unsigned number', () => {
    expect(hookNumber(7, true, 3)).toBe(2 ** 31 + 3 * 2 ** 21 + 15)
  })

  it.each([
    [1, false, 0],
    [0x3fffffff, true, 0],
    [1, false, 1],
    [MAX_FOREIGN_IFINDEX, true, MAX_NETNS],
  ])('come back: ifindex %i, egress %s, namespace %i', (ifindex, egress, netns) => {
    expect(decodeHook(hookNumber(ifindex, egress, netns))).toEqual({ ifindex, egress, netns })
  })

  it.each([
    [0, 0],
    [0x40000000, 0],
    [MAX_FOREIGN_IFINDEX + 1, 1],
    [1, MAX_NETNS + 1],
  ])('refuse what does not fit: ifindex %i in namespace %i', (ifindex, netns) => {
    expect(() => hookNumber(ifindex, false, netns)).toThrow(RangeError)
  })
})
