// What comes of events and entries in whatever order they come: the exact records, from bytes as the kernel lays them out.

import { describe, expect, it } from 'vitest'
import { event_kind as Kind } from '../../../agent/kernel/layout.gen.js'
import { ACK, FakeKernel, FIN, RST, SYN, tuple } from './fake-kernel.js'

const CLIENT = '10.0.0.1'
const VIP = '10.96.0.1'
const POD = '10.0.0.2'
const T1 = tuple(CLIENT, 40_000, VIP, 80)
const T2 = tuple(CLIENT, 40_000, POD, 8080)
const PLAIN = `${CLIENT}:40000>${VIP}:80`
const DIRECT = `${CLIENT}:40000>${POD}:8080`
const JOINED = `${CLIENT}:40000>${VIP}:80>${POD}:8080`
const SECOND = 1_000_000

/** Opens and answers a connection on one tuple. */
function established(kernel: FakeKernel, key = T1): FakeKernel {
  return kernel
    .packet(key, { flags: SYN })
    .packet(key, { reverse: true, flags: SYN | ACK })
    .packet(key, { flags: ACK })
}

function finished(kernel: FakeKernel, key = T1): FakeKernel {
  return kernel
    .packet(key, { flags: FIN | ACK })
    .packet(key, { reverse: true, flags: FIN | ACK })
    .packet(key, { flags: ACK })
}

describe('one tuple', () => {
  it('opens, goes on and ends', () => {
    const kernel = new FakeKernel()
    established(kernel)
    expect(kernel.poll()).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`])
    expect(kernel.drained()).toEqual([`UPDATED #1 ${PLAIN} +1/1 =2/1 FORWARDED`])
    finished(kernel)
    expect(kernel.poll()).toEqual([`CLOSED #1 ${PLAIN} +2/1 =4/2 FORWARDED FIN`])
    expect(kernel.drained()).toEqual([])
  })

  it('is not told before others may have seen its first packet', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN })
    expect(kernel.poll(1000)).toEqual([])
    expect(kernel.poll(1000)).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`])
  })

  it('is found by the drain when its event was lost', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN, told: false })
    expect(kernel.poll()).toEqual([])
    expect(kernel.drained()).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`])
  })

  it('counts an event once that is told twice, or after the drain', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN }).repeat()
    expect(kernel.poll()).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`])
    kernel.drained()
    kernel.event(Kind.EVENT_OPEN, T1, { flags: SYN })
    expect(kernel.poll()).toEqual([])
    expect(kernel.drained()).toEqual([])
    kernel.packet(T1, { reverse: true, flags: RST | ACK }).repeat()
    expect(kernel.poll()).toEqual([`CLOSED #1 ${PLAIN} +0/1 =1/1 REFUSED RST`])
    kernel.event(Kind.EVENT_END, T1, {}, true)
    expect(kernel.poll()).toEqual([])
  })

  it('has its bytes and packets from before the u32 of packets wraps, and after', () => {
    const kernel = new FakeKernel()
    const key = tuple(CLIENT, 5000, POD, 6000, 17)
    kernel.packet(key, { count: 1 }).poll()
    let total = 1
    for (const count of [0x7fff_0000, 0x7fff_0000, 0x0001_ffff, 5]) {
      kernel.packet(key, { count, bytes: 1 })
      total += count
      expect(kernel.drained()).toEqual([expect.stringContaining(`+${count}/0 =${total}/0`)])
    }
  })

  it('keeps its id for a late segment after its entry was deleted', () => {
    const kernel = new FakeKernel()
    established(kernel)
    kernel.poll()
    finished(kernel)
    kernel.poll()
    kernel.drained()
    expect(kernel.has(T1)).toBe(true)
    kernel.drained(3 * SECOND)
    expect(kernel.has(T1)).toBe(false)
    kernel.packet(T1, { reverse: true, flags: FIN | ACK })
    expect(kernel.poll()).toEqual([])
    expect(kernel.drained()).toEqual([`UPDATED #1 ${PLAIN} +0/1 =4/3 FORWARDED FIN`])
  })

  it('has a late segment that came before its entry was deleted told once', () => {
    const kernel = new FakeKernel()
    established(kernel)
    finished(kernel)
    kernel.poll()
    kernel.packet(T1, { reverse: true, flags: ACK })
    expect(kernel.drained()).toEqual([`UPDATED #1 ${PLAIN} +0/1 =4/3 FORWARDED FIN`])
    expect(kernel.drained()).toEqual([])
  })

  it('is another connection after a SYN on a deleted entry', () => {
    const kernel = new FakeKernel()
    established(kernel)
    finished(kernel)
    kernel.poll()
    kernel.drained(3 * SECOND)
    kernel.packet(T1, { flags: SYN })
    expect(kernel.poll()).toEqual([`OPENED #2 ${PLAIN} +1/0 =1/0`])
  })

  it('is another connection after a SYN on a closed one', () => {
    const kernel = new FakeKernel()
    established(kernel)
    finished(kernel)
    expect(kernel.poll()).toEqual([
      `OPENED #1 ${PLAIN} +4/2 =4/2 FORWARDED`,
      `CLOSED #1 ${PLAIN} +0/0 =4/2 FORWARDED FIN`,
    ])
    kernel.packet(T1, { flags: SYN })
    expect(kernel.poll()).toEqual([`OPENED #2 ${PLAIN} +1/0 =1/0`])
    kernel.packet(T1, { reverse: true, flags: RST | ACK })
    expect(kernel.poll()).toEqual([`CLOSED #2 ${PLAIN} +0/1 =1/1 REFUSED RST`])
  })

  it('is another connection when only the drain shows it', () => {
    const kernel = new FakeKernel()
    established(kernel)
    finished(kernel)
    kernel.poll()
    kernel.packet(T1, { flags: SYN, told: false })
    expect(kernel.poll()).toEqual([])
    expect(kernel.drained()).toEqual([`OPENED #2 ${PLAIN} +1/0 =1/0`])
    // an event of the earlier generation changes nothing
    expect(kernel.losses_).toEqual([])
  })

  it('says how many connections came and went unseen between two drains', () => {
    const kernel = new FakeKernel()
    established(kernel)
    finished(kernel)
    kernel.poll()
    for (let i = 0; i < 3; i++)
      kernel.packet(T1, { flags: SYN, told: false }).packet(T1, { flags: RST, told: false })
    expect(kernel.drained()).toEqual([`OPENED #2 ${PLAIN} +6/0 =6/0`])
    expect(kernel.losses_).toMatchObject([{ stage: 'KERNEL_RING', unit: 'RECORDS', count: 4 }])
  })
})

describe('two tuples of one connection', () => {
  it('the client’s first, what it became linked at once', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN }).packet(T2, { flags: SYN, hook: 21 }).link(T1, T2, T2)
    expect(kernel.poll()).toEqual([`OPENED #1 ${JOINED} +1/0 =1/0`])
  })

  it('what it became first, then the client’s', () => {
    const kernel = new FakeKernel()
    kernel.packet(T2, { flags: SYN, hook: 21 }).link(T1, T2, T2).packet(T1, { flags: SYN })
    expect(kernel.poll()).toEqual([`OPENED #1 ${JOINED} +1/0 =1/0`])
  })

  it('what it became only: the client’s tuple has no entry', () => {
    const kernel = new FakeKernel()
    kernel.packet(T2, { flags: SYN, hook: 21 }).link(T1, T2, T2)
    expect(kernel.poll()).toEqual([`OPENED #1 ${JOINED} +1/0 =1/0`])
    kernel.packet(T2, { reverse: true, flags: SYN | ACK, hook: 20 })
    expect(kernel.drained()).toEqual([`UPDATED #1 ${JOINED} +0/1 =1/1 FORWARDED`])
  })

  it('linked late: a change of destination, told at once', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN })
    expect(kernel.poll()).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`])
    kernel.link(T1, T2, T1)
    expect(kernel.poll()).toEqual([`UPDATED #1 ${JOINED} +0/0 =1/0`])
  })

  it('linked after both were told: the later one is closed, and each packet counts once from then on', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN }).packet(T2, { flags: SYN, hook: 21 })
    expect(kernel.poll()).toEqual([`OPENED #1 ${PLAIN} +1/0 =1/0`, `OPENED #2 ${DIRECT} +1/0 =1/0`])
    kernel.link(T1, T2, T2)
    expect(kernel.poll()).toEqual([`CLOSED #2 ${DIRECT} +0/0 =1/0 EVICTED`, `UPDATED #1 ${JOINED} +0/0 =1/0`])
    expect(kernel.capture.state().absorbed).toBe(1)
    kernel.packet(T1, { count: 3 }).packet(T2, { count: 3, hook: 21 })
    expect(kernel.drained()).toEqual([`UPDATED #1 ${JOINED} +3/0 =4/0 FORWARDED`])
  })

  it('in mid-connection, who opened it guessed until conntrack says', () => {
    const kernel = new FakeKernel()
    kernel.packet(T2, { reverse: true, flags: ACK, hook: 20 })
    expect(kernel.poll()).toEqual([])
    kernel.link(T1, T2, T2)
    expect(kernel.poll()).toEqual([`OPENED #1 ${JOINED} +0/1 =0/1 FORWARDED`])
  })

  it('the end of one before the other has opened', () => {
    const kernel = new FakeKernel()
    kernel.packet(T2, { flags: SYN, hook: 21 }).link(T1, T2, T2)
    kernel.packet(T2, { reverse: true, flags: RST | ACK, hook: 20 })
    kernel.packet(T1, { flags: SYN }).packet(T1, { reverse: true, flags: RST | ACK })
    expect(kernel.poll()).toEqual([
      `OPENED #1 ${JOINED} +1/1 =1/1 REFUSED`,
      `CLOSED #1 ${JOINED} +0/0 =1/1 REFUSED RST`,
    ])
  })

  it('translated between the reading of the ring and that of the maps: never told as two', () => {
    const kernel = new FakeKernel()
    kernel.meanwhile = () => {
      // the notification is there before the packet reaches the hook behind the translation
      kernel.packet(T1, { flags: SYN }).translate(T1, T2).packet(T2, { flags: SYN, hook: 21 }).pass(5000)
    }
    expect(kernel.drained()).toEqual([`OPENED #1 ${JOINED} +1/0 =1/0`])
    expect(kernel.poll()).toEqual([])
    kernel.packet(T1, { count: 3 }).packet(T2, { count: 3, hook: 21 })
    expect(kernel.drained()).toEqual([`UPDATED #1 ${JOINED} +3/0 =4/0 FORWARDED`])
  })

  it('used again on both', () => {
    const kernel = new FakeKernel()
    const both = (use: (key: typeof T1, hook: number) => void) => {
      use(T1, 10)
      use(T2, 21)
    }
    both((key, hook) => kernel.packet(key, { flags: SYN, hook }))
    kernel.link(T1, T2, T2)
    both((key, hook) => kernel.packet(key, { flags: RST, hook }))
    expect(kernel.poll()).toEqual([`OPENED #1 ${JOINED} +2/0 =2/0`, `CLOSED #1 ${JOINED} +0/0 =2/0 RST`])
    both((key, hook) => kernel.packet(key, { flags: SYN, hook }))
    kernel.link(T1, T2, T2)
    // #2 and #4 were the alias's own, for as long as it took to read the link
    expect(kernel.poll()).toEqual([`OPENED #3 ${JOINED} +1/0 =1/0`])
    both((key, hook) => kernel.packet(key, { flags: ACK, hook, count: 4 }))
    expect(kernel.drained()).toEqual([`UPDATED #3 ${JOINED} +4/0 =5/0 FORWARDED`])
  })

  it('a direction goes over to the other view when its own falls silent', () => {
    const kernel = new FakeKernel()
    const both = (count: number) => kernel.packet(T1, { count }).packet(T2, { count, hook: 21 })
    kernel.packet(T1, { flags: SYN }).packet(T2, { flags: SYN, hook: 21 }).link(T1, T2, T2)
    kernel.poll()
    both(5)
    expect(kernel.drained()).toEqual([`UPDATED #1 ${JOINED} +5/0 =6/0 FORWARDED`])
    // T1's hook is gone: from here on T2 alone sees the connection
    const told: string[] = []
    for (let i = 0; i < 6; i++) {
      kernel.packet(T2, { count: 1, hook: 21 })
      told.push(...kernel.drained())
    }
    kernel.packet(T2, { count: 10, hook: 21 })
    told.push(...kernel.drained())
    expect(told.at(-1)).toMatch(/\+10\/0 /)
  })
})

describe('a full map', () => {
  it('its packets come through the ring, and the entry later', () => {
    const kernel = new FakeKernel()
    const key = tuple(CLIENT, 5000, POD, 6000, 17)
    const flow = `${CLIENT}:5000>${POD}:6000`
    kernel.event(Kind.EVENT_OVERFLOW, key).event(Kind.EVENT_OVERFLOW, key)
    expect(kernel.poll()).toEqual([`OPENED #1 ${flow} +2/0 =2/0`])
    // another hook tells the same packets
    kernel.event(Kind.EVENT_OVERFLOW, key, { hook: 12 })
    expect(kernel.drained()).toEqual([])
    kernel.packet(key, { count: 3 })
    expect(kernel.drained()).toEqual([`UPDATED #1 ${flow} +3/0 =5/0`])
  })

  it('what neither map nor ring took is told as lost', () => {
    const kernel = new FakeKernel()
    kernel.lost = 7
    kernel.drained()
    kernel.lost = 9
    kernel.drained()
    kernel.drained()
    expect(kernel.losses_).toMatchObject([
      { stage: 'KERNEL_MAP', unit: 'PACKETS', count: 7 },
      { stage: 'KERNEL_MAP', unit: 'PACKETS', count: 2 },
    ])
  })

  it('of the agent: what has no room is counted once, however often it is found', () => {
    const kernel = new FakeKernel({ maxViews4: 4, maxViews6: 4, maxRemembered: 2, maxSpilled: 2 })
    // room for twice the kernel's and what is beside it
    const room = 4 * 2 + 2
    for (let i = 0; i < room + 7; i++) kernel.packet(tuple(CLIENT, 1 + i, POD, 80), { flags: SYN })
    expect(kernel.poll()).toHaveLength(room)
    for (let i = 0; i < 3; i++) kernel.drained(200_000)
    expect(kernel.losses_).toMatchObject([{ stage: 'AGENT', unit: 'RECORDS', count: 7 }])
    for (let i = 0; i < 3; i++) kernel.packet(tuple(CLIENT, 100 + i, POD, 80), { flags: SYN })
    kernel.drained(200_000)
    expect(kernel.losses_.slice(1)).toMatchObject([{ stage: 'AGENT', unit: 'RECORDS', count: 3 }])
  })

  it('of the agent: what is only remembered makes room first', () => {
    const kernel = new FakeKernel({ maxViews4: 4, maxViews6: 4, maxRemembered: 8, maxSpilled: 0 })
    const script = [
      { flags: SYN },
      { flags: SYN | ACK, reverse: true },
      { flags: ACK },
      { flags: FIN | ACK },
      { flags: FIN | ACK, reverse: true },
      { flags: ACK },
    ]
    for (let i = 0; i < 8; i++)
      for (const packet of script) kernel.packet(tuple(CLIENT, 1 + i, POD, 80), packet)
    kernel.poll()
    // over for long enough: deleted from the kernel and remembered, all eight
    kernel.drained()
    kernel.drained(3 * SECOND)
    expect(kernel.entries.size).toBe(0)
    expect(kernel.capture.state().views).toBe(8)
    for (let i = 0; i < 16; i++) kernel.packet(tuple(CLIENT, 100 + i, POD, 80), { flags: SYN })
    expect(kernel.poll().filter((row) => row.startsWith('OPENED'))).toHaveLength(16)
    kernel.drained()
    expect(kernel.losses_).toEqual([])
  })

  it('of what is kept beside it: its packets are counted as lost, one by one', () => {
    const kernel = new FakeKernel({ maxViews4: 4, maxViews6: 4, maxRemembered: 0, maxSpilled: 2 })
    for (let i = 0; i < 5; i++)
      kernel.event(Kind.EVENT_OVERFLOW, tuple(CLIENT, 1 + i, POD, 80, 17), { count: 3 })
    expect(kernel.poll()).toHaveLength(2)
    kernel.drained()
    expect(kernel.losses_).toMatchObject([{ stage: 'KERNEL_MAP', unit: 'PACKETS', count: 9 }])
  })
})

describe('a map that fills', () => {
  it('is drained oftener as soon as the ring has told of it, and at leisure when it has emptied', () => {
    const kernel = new FakeKernel({ maxViews4: 100, maxViews6: 100 })
    const { capture } = kernel
    const seen: number[] = []
    for (let i = 0; i < 60; i++) {
      kernel
        .packet(tuple(CLIENT, 1 + i, POD, 53, 17))
        .packet(tuple(CLIENT, 1 + i, POD, 53, 17), { reverse: true })
      kernel.poll()
      if (capture.drainEveryMs !== seen.at(-1)) seen.push(i + 1, capture.drainEveryMs)
    }
    expect(seen).toEqual([1, 1000, 25, 500, 50, 250])
    // answered questions: over after a quarter of a second, gone with the drain behind
    const closed = [...kernel.drained(250_000), ...kernel.drained(250_000)].filter((row) =>
      row.startsWith('CLOSED'),
    )
    expect(closed).toHaveLength(60)
    expect(kernel.entries.size).toBe(0)
    expect(capture.drainEveryMs).toBe(1000)
  })
})

describe('a flood in the ring', () => {
  it('keeps what is over until what it says of it has been read', () => {
    const kernel = new FakeKernel()
    const noise = tuple(CLIENT, 9, POD, 9, 17)
    kernel.packet(noise)
    // 40,000 events before those of one short connection, read 2,000 at a time
    for (let i = 0; i < 40_000; i++) kernel.event(Kind.EVENT_ICMP_ERROR, noise)
    kernel.readingTakes = 30_000
    const key = tuple(CLIENT, 40_000, POD, 80)
    for (const packet of [
      { flags: SYN },
      { flags: SYN | ACK, reverse: true },
      { flags: ACK },
      { flags: FIN | ACK },
      { flags: FIN | ACK, reverse: true },
      { flags: ACK },
    ])
      kernel.packet(key, packet)
    const told: string[] = []
    // the drain is ahead of the ring by half a minute
    for (let i = 0; i < 30; i++) told.push(...kernel.drained().filter((row) => row.includes(':80')))
    expect(told).toEqual([
      expect.stringMatching(/^OPENED .* =4\/2/),
      expect.stringMatching(/^CLOSED .* \+0\/0 =4\/2 FORWARDED FIN$/),
    ])
    expect(kernel.has(key)).toBe(false)
  })

  it('is read in slices, for 20 ms at most', () => {
    const kernel = new FakeKernel({ maxViews4: 20_000, maxViews6: 4 })
    for (let i = 0; i < 15_000; i++) kernel.packet(tuple(CLIENT, 1 + i, POD, 80), { flags: SYN })
    // each slice of 2,000 takes 8 ms: the third one ends behind the 20 ms
    kernel.readingTakes = 8_000
    expect(kernel.capture.poll()).toBe(true)
    expect(kernel.capture.state().ringRecords).toBe(6000)
    kernel.readingTakes = 0
    expect(kernel.capture.poll()).toBe(false)
    expect(kernel.capture.state().ringRecords).toBe(15_000)
  })
})

describe('silence', () => {
  const minute = 60 * SECOND
  it.each([
    ['a UDP datagram without an answer', 17, 30 * SECOND, false, 'UNANSWERED'],
    ['a question and its answer', 17, 10 * SECOND, true, 'FORWARDED'],
    ['another protocol', 89, 30 * SECOND, false, 'UNANSWERED'],
  ])('%s ends it', (_, protocol, timeout, answered, verdict) => {
    const kernel = new FakeKernel()
    const key = tuple(CLIENT, 5000, POD, 53, protocol)
    kernel.packet(key)
    if (answered) kernel.packet(key, { reverse: true })
    kernel.poll()
    kernel.drained(0)
    expect(kernel.drained(timeout - SECOND)).toEqual([])
    const end = kernel.drained(2 * SECOND)
    expect(end).toEqual([expect.stringMatching(new RegExp(`^CLOSED #1 .* ${verdict} IDLE$`))])
    // its entry goes with it, for it has been quiet long enough
    kernel.drained()
    expect(kernel.has(key)).toBe(false)
  })

  it('an established TCP connection bears an hour', () => {
    const kernel = new FakeKernel()
    established(kernel)
    kernel.poll()
    kernel.drained()
    expect(kernel.drained(59 * minute)).toEqual([])
    expect(kernel.drained(2 * minute)).toEqual([`CLOSED #1 ${PLAIN} +0/0 =2/1 FORWARDED IDLE`])
  })

  it('one FIN and nothing more: two minutes', () => {
    const kernel = new FakeKernel()
    established(kernel).packet(T1, { flags: FIN | ACK })
    kernel.poll()
    kernel.drained()
    expect(kernel.drained(118 * SECOND)).toEqual([])
    expect(kernel.drained(2 * SECOND)).toEqual([`CLOSED #1 ${PLAIN} +0/0 =3/1 FORWARDED IDLE`])
  })

  it('a SYN that nobody answers is told after three seconds, and ends after 130', () => {
    const kernel = new FakeKernel()
    kernel.packet(T1, { flags: SYN })
    kernel.poll()
    expect(kernel.drained(2 * SECOND)).toEqual([])
    expect(kernel.drained(1 * SECOND)).toEqual([`UPDATED #1 ${PLAIN} +0/0 =1/0 UNANSWERED`])
    expect(kernel.drained(126 * SECOND)).toEqual([])
    expect(kernel.drained(2 * SECOND)).toEqual([`CLOSED #1 ${PLAIN} +0/0 =1/0 UNANSWERED IDLE`])
  })

  it('an ICMP error refuses, and ends soon', () => {
    const kernel = new FakeKernel()
    const key = tuple(CLIENT, 5000, POD, 53, 17)
    const flow = `${CLIENT}:5000>${POD}:53`
    kernel.packet(key)
    kernel.poll()
    kernel.event(Kind.EVENT_ICMP_ERROR, key, {}, false, 0x0303)
    expect(kernel.poll()).toEqual([`UPDATED #1 ${flow} +0/0 =1/0 REFUSED`])
    expect(kernel.drained(4 * SECOND)).toEqual([])
    expect(kernel.drained(2 * SECOND)).toEqual([`CLOSED #1 ${flow} +0/0 =1/0 REFUSED IDLE`])
  })
})

describe('the agent', () => {
  it('ends what is open when it stops', () => {
    const kernel = new FakeKernel()
    established(kernel)
    kernel.poll()
    const key = tuple('fd00::1', 5000, 'fd00::2', 53, 17)
    kernel.packet(key)
    expect(kernel.stopped()).toEqual([
      `UPDATED #1 ${PLAIN} +1/1 =2/1 FORWARDED`,
      `CLOSED #1 ${PLAIN} +0/0 =2/1 FORWARDED AGENT_STOPPED`,
      `OPENED #2 v6-1:5000>v6-2:53 +1/0 =1/0`,
      `CLOSED #2 v6-1:5000>v6-2:53 +0/0 =1/0 AGENT_STOPPED`,
    ])
  })

  it.each([3600 * SECOND, -3600 * SECOND])(
    'a step of the wall clock by %i us ends and turns nothing',
    (step) => {
      const kernel = new FakeKernel()
      const times: { time: number; start: number; end: number }[] = []
      kernel.onBatch = (batch) => {
        for (let row = 0; row < batch.count; row++)
          times.push({ time: batch.timeUs[row]!, start: batch.startUs[row]!, end: batch.endUs[row]! })
      }
      const start = kernel.wall
      established(kernel)
      kernel.poll()
      kernel.wall += step
      kernel.packet(T1)
      expect(kernel.drained()).toEqual([`UPDATED #1 ${PLAIN} +2/1 =3/1 FORWARDED`])
      finished(kernel)
      expect(kernel.poll()).toEqual([`CLOSED #1 ${PLAIN} +2/1 =5/2 FORWARDED FIN`])
      expect(times.map(({ start }) => start)).toEqual([start, start, start])
      expect(times.at(-1)).toEqual({ time: kernel.wall, start, end: start + 5_000 + SECOND })
      expect(times.every((each) => each.end >= each.start)).toBe(true)
    },
  )
})
