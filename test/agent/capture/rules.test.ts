// The small rules of capture as tables: who opened, what TCP says, how long silence lasts, how times convert.

import { describe, expect, it } from 'vitest'
import { Clock } from '../../../agent/capture/clock.js'
import { End, TcpState } from '../../../agent/capture/flow-batch.js'
import { inferForward } from '../../../agent/capture/initiator.js'
import { ACK, FIN, RST, refused, resetBy, SYN, tcpState, unseenWay } from '../../../agent/capture/tcp.js'
import { linger, longestSilence, Silence, silenceOf } from '../../../agent/capture/timeouts.js'

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

describe('a way that nobody saw', () => {
  it.each([
    ['a handshake that goes on', SYN | ACK, 0, 3, 0, 1],
    ['its answers alone', 0, SYN | ACK, 0, 4, 0],
    ['an end that is told one way', ACK | FIN, 0, 2, 0, 1],
    ['a SYN that nobody answered', SYN, 0, 4, 0, -1],
    ['a connection seen both ways', SYN | ACK, SYN | ACK, 5, 5, -1],
    ['a reset, which acknowledges what it rejects', SYN | RST | ACK, 0, 2, 0, -1],
    ['a scan by ACK that is rejected', 0, RST | ACK, 0, 1, -1],
    ['nothing yet', 0, 0, 0, 0, -1],
  ])('%s', (_, forward, reverse, packets, answers, way) => {
    expect(unseenWay(forward, reverse, packets, answers)).toBe(way)
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
  const second = 1_000_000
  it.each([
    ['an established TCP connection', 6, true, false, false, 10, 10, 3600],
    ['a SYN', 6, false, false, false, 3, 0, 130],
    ['one FIN', 6, true, true, false, 9, 9, 120],
    ['what was refused', 6, false, false, true, 1, 0, 5],
    ['a question and its answer', 17, true, false, false, 1, 1, 10],
    ['two of them', 17, true, false, false, 2, 2, 10],
    ['a stream', 17, true, false, false, 3, 2, 120],
    ['one way', 17, false, false, false, 5, 0, 30],
    ['a ping', 1, true, false, false, 1, 1, 30],
  ])('%s', (_, protocol, established, closing, refused, forward, reverse, seconds) => {
    const kind = silenceOf(protocol, established, closing, refused, forward, reverse)
    expect(longestSilence(kind, 0)).toBe(seconds * second)
    expect(longestSilence(kind, 0.125)).toBe(seconds * second)
  })

  it('is shorter when the tables fill, first for what is over', () => {
    // from an eighth to a half, by equal parts
    expect(longestSilence(Silence.UDP_EXCHANGE, 0.3125)).toBeCloseTo(Math.sqrt(10 * 0.25) * second)
    expect(longestSilence(Silence.UDP_EXCHANGE, 0.5)).toBeCloseTo(0.25 * second)
    expect(longestSilence(Silence.UDP_EXCHANGE, 1)).toBeCloseTo(0.25 * second)
    expect(linger(0)).toBe(2 * second)
    expect(linger(0.5)).toBeCloseTo(0.1 * second)
    // all others from a half on, and never below two seconds
    expect(longestSilence(Silence.TCP_ESTABLISHED, 0.5)).toBe(3600 * second)
    expect(longestSilence(Silence.TCP_ESTABLISHED, 0.75)).toBe(1800 * second)
    expect(longestSilence(Silence.TCP_ESTABLISHED, 1)).toBe(72 * second)
    expect(longestSilence(Silence.REFUSED, 1)).toBe(2 * second)
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
