// IANA protocol numbers and the names that docs/contract.md gives to some of them. Runs in browsers.

export const ProtocolNumber = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const

const NAMES = new Map<number, string>(Object.entries(ProtocolNumber).map(([name, number]) => [number, name]))

/** `TCP` `UDP` `SCTP` `ICMP` `ICMPv6`, or the number as text. */
export function formatProtocol(protocol: number): string {
  return NAMES.get(protocol) ?? String(protocol)
}

/** The number of a name (case ignored) or of a number as text; undefined when it is neither. */
export function parseProtocol(text: string): number | undefined {
  const wanted = text.toLowerCase()
  for (const [number, name] of NAMES) if (name.toLowerCase() === wanted) return number
  return /^\d{1,3}$/.test(text) && Number(text) <= 255 ? Number(text) : undefined
}
