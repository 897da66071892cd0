// A certificate authority for tests: real certificates for real TLS, made by openssl in a folder of its own.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Pair {
  readonly cert: string
  readonly key: string
  readonly certFile: string
  readonly keyFile: string
}

export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'vethflow-ca-'))
  readonly ca: string
  readonly caFile: string
  #serial = 1

  constructor(name = 'test authority') {
    this.#openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-keyout', this.#path('ca.key'), '-out', this.#path('ca.pem'), '-subj', `/CN=${name}`],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    )
    this.caFile = this.#path('ca.pem')
    this.ca = readFileSync(this.caFile, 'utf8')
  }

  /** A certificate for a server on loopback and for a client alike; `use` narrows it. */
  issue(name: string, use = 'serverAuth,clientAuth', validity: readonly string[] = ['-days', '1']): Pair {
    const base = `${name}-${this.#serial++}`
    const [keyFile, request, certFile] = ['key', 'csr', 'pem'].map((end) => this.#path(`${base}.${end}`)) as [
      string,
      string,
      string,
    ]
    writeFileSync(
      this.#path(`${base}.ext`),
      `subjectAltName=DNS:localhost,DNS:${name},IP:127.0.0.1\nextendedKeyUsage=${use}\nbasicConstraints=CA:FALSE\n`,
    )
    this.#openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-keyout', keyFile, '-out', request, '-subj', `/CN=${name}`],
    )
    this.#openssl(
      ...['x509', '-req', '-in', request, '-CA', this.caFile, '-CAkey', this.#path('ca.key')],
      ...['-set_serial', String(this.#serial), '-extfile', this.#path(`${base}.ext`), '-out', certFile],
      ...validity,
    )
    return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8'), certFile, keyFile }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #path(name: string): string {
    return join(this.folder, name)
  }

  #openssl(...words: string[]): void {
    execFileSync('openssl', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  }
}
