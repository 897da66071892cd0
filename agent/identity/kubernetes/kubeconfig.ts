// How to reach an API server by a kubeconfig: its current context.
//
// Server, CA, client certificate and token are read here; whatever takes more than that goes to client-node.

import { readFile } from 'node:fs/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'

import { VethflowError } from '../../errors.js'
import { type Fields, fields, list } from '../object.js'
import { clientConnection } from './client-credentials.js'
import { AGENT_OPTIONS, type Connection, parseServer, TokenFile } from './connection.js'

/** Members of a cluster and of a user that are understood here. */
const CLUSTER = [
  'server',
  'certificate-authority',
  'certificate-authority-data',
  'insecure-skip-tls-verify',
  'tls-server-name',
  'extensions',
]
const USER = [
  'token',
  'tokenFile',
  'client-certificate',
  'client-certificate-data',
  'client-key',
  'client-key-data',
  'extensions',
]
/** Certificates in files are read again when the server does not accept them any more, and after this. */
const CERTIFICATE_AGE_MS = 300_000

/**
 * The current context of a kubeconfig.
 *
 * @throws VethflowError KUBECONFIG_INVALID when it cannot be read, parsed, or names no cluster.
 */
export async function kubeconfigConnection(file: string): Promise<Connection> {
  let source: string
  try {
    source = await readFile(file, 'utf8')
  } catch (cause) {
    throw new VethflowError('KUBECONFIG_INVALID', `cannot read kubeconfig ${file}`, {
      cause,
      hint: 'Name a readable file with --kubeconfig, or use --manifests or --no-kubernetes',
    })
  }
  const { cluster, user } = currentContext(file, source)
  const server = parseServer(string(cluster.server), file)
  const simple = onlyHas(cluster, CLUSTER) && onlyHas(user, USER)
  const identity = new CertificateFiles(file, cluster, user)
  await identity.read()
  if (!simple) return clientConnection(file, source, server)

  const token = string(user.token)
  const named = string(user.tokenFile)
  const tokenFile =
    token === undefined && named !== undefined ? new TokenFile(beside(file, named)) : undefined
  const name = string(cluster['tls-server-name'])
  const verify = cluster['insecure-skip-tls-verify'] !== true
  let agent: HttpAgent | undefined
  let since = 0
  return {
    server,
    async options() {
      if (agent === undefined || performance.now() - since > CERTIFICATE_AGE_MS) {
        since = performance.now()
        if (server.protocol === 'http:') agent ??= new HttpAgent(AGENT_OPTIONS)
        else if ((await identity.read()) || agent === undefined) {
          // Watches that are open go on through the old one.
          agent = new HttpsAgent({
            ...AGENT_OPTIONS,
            ...identity.pem,
            ...(name === undefined ? {} : { servername: name }),
            rejectUnauthorized: verify,
          })
        }
      }
      const bearer = token ?? (await tokenFile?.read())
      return { agent, ...(bearer === undefined ? {} : { headers: { Authorization: `Bearer ${bearer}` } }) }
    },
    refused() {
      tokenFile?.forget()
      since = Number.NEGATIVE_INFINITY
    },
    close() {
      agent?.destroy()
    },
  }
}

function currentContext(file: string, source: string): { cluster: Fields; user: Fields } {
  let config: Fields
  try {
    config = fields(parse(source, { prettyErrors: false, logLevel: 'error' }))
  } catch (cause) {
    throw new VethflowError('KUBECONFIG_INVALID', `${file} is not a kubeconfig`, { cause })
  }
  if (!Array.isArray(config.clusters) || !Array.isArray(config.contexts)) {
    throw new VethflowError('KUBECONFIG_INVALID', `${file} is not a kubeconfig`)
  }
  const current = string(config['current-context'])
  const context = fields(member(config.contexts, current, 'context'))
  const cluster = member(config.clusters, string(context.cluster), 'cluster')
  if (current === undefined || cluster === undefined) {
    throw new VethflowError(
      'KUBECONFIG_INVALID',
      current === undefined
        ? `${file} has no current-context`
        : `${file}: context "${current}" names no cluster of this file`,
      { hint: 'Choose one with `kubectl config use-context`' },
    )
  }
  return { cluster: fields(cluster), user: fields(member(config.users, string(context.user), 'user')) }
}

/** What stands under `what` in the entry of that name. */
function member(entries: unknown, name: string | undefined, what: string): unknown {
  const found = list(entries).find((entry) => name !== undefined && fields(entry).name === name)
  return found === undefined ? undefined : fields(found)[what]
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function onlyHas(object: Fields, known: readonly string[]): boolean {
  return Object.entries(object).every(
    ([key, value]) => known.includes(key) || value === null || value === '' || value === false,
  )
}

function beside(file: string, path: string): string {
  return resolve(dirname(file), path)
}

/** CA, client certificate and key: from the kubeconfig itself, or from the files that it names. */
class CertificateFiles {
  /** PEM by the name that TLS options give it. */
  pem: { ca?: string; cert?: string; key?: string } = {}
  readonly #file: string
  readonly #sources: readonly (readonly ['ca' | 'cert' | 'key', string | undefined, string | undefined])[]

  constructor(file: string, cluster: Fields, user: Fields) {
    this.#file = file
    this.#sources = [
      ['ca', string(cluster['certificate-authority-data']), string(cluster['certificate-authority'])],
      ['cert', string(user['client-certificate-data']), string(user['client-certificate'])],
      ['key', string(user['client-key-data']), string(user['client-key'])],
    ]
  }

  /** True when something is new. */
  async read(): Promise<boolean> {
    const found: typeof this.pem = {}
    for (const [what, data, path] of this.#sources) {
      if (data !== undefined) found[what] = Buffer.from(data, 'base64').toString('utf8')
      else if (path !== undefined) found[what] = await this.#readFile(beside(this.#file, path))
    }
    const { ca, cert, key } = this.pem
    if (found.ca === ca && found.cert === cert && found.key === key) return false
    this.pem = found
    return true
  }

  async #readFile(path: string): Promise<string> {
    try {
      return await readFile(path, 'utf8')
    } catch (cause) {
      throw new VethflowError(
        'KUBECONFIG_INVALID',
        `${this.#file} names a file that cannot be read: ${path}`,
        { cause },
      )
    }
  }
}
