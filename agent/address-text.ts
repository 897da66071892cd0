// An address in network order as text that parsers take. Shared vocabulary; not for people: the protocol has a nicer form.

/** `bytes` are 4 or 16. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i]! << 8) | bytes[i + 1]!).toString(16))
  return groups.join(':')
}
