// TLS for the listener: certificate, key and the authority of clients from files, read anew when they change. A change
// meets new connections only; those that stand keep what they were opened with.

import type { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { describeError, usageError } from '../../agent/errors.js'
import { quote } from '../../agent/flags.js'
import { authoritiesOf } from './auth/client-certificate.js'
import { WatchedFiles } from './auth/watched-files.js'

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string
  readonly key: string
  /** Authority whose clients may come in by their certificates. */
  readonly clientCa?: string
}

/** Whoever opens it closes it. */
export class TlsContext {
  readonly #files: TlsFiles
  #options: SecureContextOptions = {}
  #authorities: readonly X509Certificate[] = []
  #watched: WatchedFiles | undefined

  private constructor(files: TlsFiles) {
    this.#files = files
  }

  /**
   * Reads the files. `changed` is called when others hold, `complain` when changed files cannot be used, as while a
   * certificate is there already and its key is not. Throws a usage error when they cannot be used from the start.
   */
  static async open(
    files: TlsFiles,
    changed: () => void,
    complain: (message: string) => void,
    pollMs?: number,
  ): Promise<TlsContext> {
    const context = new TlsContext(files)
    const paths = [files.cert, files.key, ...(files.clientCa === undefined ? [] : [files.clientCa])]
    const reload = async (): Promise<void> => {
      try {
        await context.#load()
      } catch (error) {
        complain(`${describeError(error)}; what was read before stays in force`)
        return
      }
      changed()
    }
    context.#watched = await WatchedFiles.open(paths, reload, pollMs)
    try {
      await context.#load()
    } catch (error) {
      context.close()
      throw error
    }
    return context
  }

  /** For `https.createServer` and `setSecureContext`. */
  get options(): SecureContextOptions {
    return this.#options
  }

  /** True when clients are asked for a certificate. */
  get asksClients(): boolean {
    return this.#files.clientCa !== undefined
  }

  /** Who signs clients' certificates, as of now. */
  get authorities(): readonly X509Certificate[] {
    return this.#authorities
  }

  close(): void {
    this.#watched?.close()
  }

  async #load(): Promise<void> {
    const { clientCa } = this.#files
    const [cert, key, ca] = await Promise.all([
      readPem('--tls-cert', this.#files.cert),
      readPem('--tls-key', this.#files.key),
      clientCa === undefined ? undefined : readPem('--client-ca', clientCa),
    ])
    const options: SecureContextOptions = {
      cert,
      key,
      minVersion: 'TLSv1.2',
      ...(ca !== undefined && { ca }),
    }
    let authorities: readonly X509Certificate[] = []
    try {
      createSecureContext(options)
    } catch (cause) {
      throw usageError(
        `--tls-cert and --tls-key take a PEM certificate and its key: ${cause instanceof Error ? cause.message : String(cause)}`,
      )
    }
    try {
      if (ca !== undefined) authorities = authoritiesOf(ca)
      if (ca !== undefined && authorities.length === 0) throw new Error('it has none')
    } catch (cause) {
      throw usageError(
        `--client-ca takes a PEM file with certificates: ${cause instanceof Error ? cause.message : String(cause)}`,
      )
    }
    this.#options = options
    this.#authorities = authorities
  }
}

async function readPem(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw usageError(`${flag} takes a PEM file, and ${quote(path)} cannot be read: ${why}`)
  }
}
