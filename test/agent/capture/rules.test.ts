// The small rules of capture as tables: who opened, what TCP says, how long silence lasts, how times convert.

import { describe, expect, it } from 'vitest'
import { Clock } from '../../../agent/capture/clock.js'
import { End, TcpState } from '../../../agent/capture/flow-batch.js'
import { inferForward } from '../../../agent/capture/initiator.js'
import { ACK, FIN, RST, refused, resetBy, SYN, tcpState } from '../../../agent/capture/tcp.js'
import { idleTimeout, LINGER } from '../../../agent/capture/timeouts.js'

describe('who opened a connection that nobody saw open', () => {
  it.each([
    ['a well-known port answers', 40_000, 443, 1, 0],
    ['also when it is end 0', 53, 50_000, 0, 1],
    ['a registered port answers an ephemeral one', 8080, 50_000, 0, 1],
    ['below 1024 wins over registered', 8080, 80, 1, 0],
    ['two ephemeral ports: whoever was first', 40_000, 50_000, 1, 1],
    ['two equal ports: whoever was first', 53, 53, 0, 0],
  ])('%s', (_, port0, port1, first, forward) => {
    expect(inferForward(port0, port1, first)).toBe(forward)
  })
})

describe('TCP by its flags', () => {
  it.each([
    [SYN, 0, TcpState.SYN_SENT],
    [SYN, SYN | ACK, TcpState.SYN_RECEIVED],
    [SYN | ACK, SYN | ACK, TcpState.ESTABLISHED],
    [ACK, ACK, TcpState.ESTABLISHED],
    [SYN | ACK | FIN, SYN | ACK, TcpState.CLOSING],
    [SYN | ACK | FIN, SYN | ACK | FIN, TcpState.CLOSED],
    [SYN | ACK, SYN | ACK | RST, TcpState.CLOSED],
  ])('forward %i and reverse %i', (forward, reverse, state) => {
    expect(tcpState(forward, reverse)).toBe(state)
  })

  it('is refused only by a reset that answers the SYN', () => {
    expect(refused(SYN, RST | ACK)).toBe(true)
    expect(refused(SYN | ACK, SYN | ACK | RST)).toBe(false)
    expect(refused(ACK, RST)).toBe(false)
  })

  it('says who reset it', () => {
    expect(resetBy(SYN | RST, SYN | ACK)).toBe(End.SOURCE)
    expect(resetBy(SYN, RST | ACK)).toBe(End.DESTINATION)
    expect(resetBy(SYN | ACK, SYN | ACK)).toBe(End.NONE)
  })
})

describe('silence', () => {
  it('ends connections by protocol, sooner when the table fills, never before late segments are over', () => {
    const second = 1_000_000
    expect(idleTimeout(6, true, false, false, 10, 10, 0)).toBe(3600 * second)
    expect(idleTimeout(6, false, false, false, 3, 0, 0)).toBe(130 * second)
    expect(idleTimeout(6, false, false, true, 1, 0, 0)).toBe(5 * second)
    expect(idleTimeout(17, true, false, false, 1, 1, 0)).toBe(10 * second)
    expect(idleTimeout(17, true, false, false, 100, 100, 0)).toBe(120 * second)
    expect(idleTimeout(17, false, false, false, 5, 0, 0)).toBe(30 * second)
    expect(idleTimeout(6, true, false, false, 10, 10, 0.75)).toBe(1800 * second)
    expect(idleTimeout(17, true, false, false, 1, 1, 1)).toBe(LINGER)
  })
})

describe('the clock', () => {
  it('follows steps of the wall clock and never turns them into durations', () => {
    let boot = 5_000_000
    let wall = 1_700_000_000_000_000
    const clock = new Clock({ bootUs: () => boot, wallUs: () => wall })
    const start = clock.toWall(4_000_000)
    expect(start).toBe(1_699_999_999_000_000)
    for (const step of [3_600_000_000, -7_200_000_000]) {
      wall += step + 1_000_000
      boot += 1_000_000
      clock.tick()
      expect(clock.wall).toBe(wall)
      expect(clock.now).toBe(boot)
    }
    expect(clock.toWall(boot) - clock.toWall(boot - 500)).toBe(500)
  })
})
