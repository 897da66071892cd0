// Who comes with a certificate of --client-ca: a gateway, or another program that is trusted with everything. TLS has
// checked that it holds the key and that the chain is whole; here is checked that it still counts.

import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Grant } from './grant.js'

/** Longest chain from a client's certificate to an authority. */
const MOST_LINKS = 8

/** Authorities of a PEM text. Throws when one of them is none. */
export function authoritiesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

/**
 * What the other end's certificate gives; undefined when it shows none that counts. `authorities` is asked again
 * whenever the grant is.
 */
export function certificateGrant(
  socket: Socket,
  authorities: () => readonly X509Certificate[],
): Grant | undefined {
  // A resumed session without any certificate is `authorized`, too.
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  const holds = (): boolean => counts(certificate, authorities())
  if (!holds()) return undefined
  return {
    subject: `certificate of ${certificate.subject.replaceAll('\n', ', ')}`,
    scope: undefined,
    holds: () => Promise.resolve(holds()),
  }
}

/** Within its time, and signed by one of the authorities through the certificates that came with it. */
function counts(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  const now = Date.now()
  let link: X509Certificate | undefined = certificate
  for (let links = 0; link !== undefined && links < MOST_LINKS; links++) {
    if (Date.parse(link.validFrom) > now || Date.parse(link.validTo) < now) return false
    const { fingerprint256 } = link
    const at: X509Certificate = link
    if (links > 0 && authorities.some((authority) => authority.fingerprint256 === fingerprint256)) return true
    if (authorities.some((authority) => at.checkIssued(authority) && at.verify(authority.publicKey)))
      return true
    // An issuer's certificate that the other end sent along: part of the chain only if it really signed.
    const issuer: X509Certificate | undefined = at.issuerCertificate
    link = issuer !== undefined && at.verify(issuer.publicKey) ? issuer : undefined
  }
  return false
}
