// Guesses who opened a connection that nobody saw open. Records that rest on a guess say so (initiatorInferred).

/** Where Linux takes ports for outgoing connections from (net.ipv4.ip_local_port_range, 32768 to 60999). */
const EPHEMERAL_FROM = 32768
const WELL_KNOWN_BELOW = 1024

/**
 * The dir of forward packets: 0 when end 0 opened it. The end with a well-known port answers, else the one with a port
 * that is not ephemeral, else whoever did not send the first packet seen (`firstDir`).
 */
export function inferForward(port0: number, port1: number, firstDir: number): number {
  for (const limit of [WELL_KNOWN_BELOW, EPHEMERAL_FROM]) {
    const serves0 = port0 < limit
    const serves1 = port1 < limit
    if (serves0 !== serves1) return serves1 ? 0 : 1
  }
  return firstDir
}
