// Credentials of a kubeconfig on a real TLS socket: client certificates, token files that change, a CA that is checked,
// and what is left to client-node.

import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { kubeconfigConnection } from '../../../../agent/identity/kubernetes/kubeconfig.js'
import { get } from '../../../../agent/identity/kubernetes/request.js'

let folder: string
let server: Server
let url: string
let asked: { client: string | undefined; authorization: string | undefined }[]
let accept: string | undefined

function certificate(name: string): void {
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'].concat(
      ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:api.example'],
      ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.crt`)],
    ),
    { stdio: 'ignore' },
  )
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vethflow-kubeconfig-'))
  for (const name of ['server', 'alice', 'other']) certificate(name)
  server = createServer(
    {
      key: await readFile(join(folder, 'server.key')),
      cert: await readFile(join(folder, 'server.crt')),
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const { authorization } = request.headers
      const subject = (request.socket as TLSSocket).getPeerCertificate().subject
      asked.push({ client: subject?.CN as string | undefined, authorization })
      response.writeHead(accept === undefined || authorization === accept ? 200 : 401).end('{}')
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await rm(folder, { recursive: true })
})
beforeEach(() => {
  asked = []
  accept = undefined
})

async function connection(cluster: object, user: object) {
  const file = join(folder, 'config')
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'x', user: 'u' } }],
    clusters: [{ name: 'x', cluster: { server: url, ...cluster } }],
    users: [{ name: 'u', user }],
  }
  await writeFile(file, JSON.stringify(config))
  return kubeconfigConnection(file)
}

type Connection = Awaited<ReturnType<typeof connection>>

async function ask(to: Connection): Promise<void> {
  const { signal } = new AbortController()
  const options = { path: '/', query: {}, accept: '*/*', silenceMs: 5000, watch: false, signal }
  const response = await get(to, options)
  for await (const _ of response);
}

async function base64(name: string): Promise<string> {
  return (await readFile(join(folder, name))).toString('base64')
}

describe('read here', () => {
  test('a client certificate in the file itself', async () => {
    const to = await connection(
      { 'certificate-authority-data': await base64('server.crt') },
      { 'client-certificate-data': await base64('alice.crt'), 'client-key-data': await base64('alice.key') },
    )
    await ask(to)
    to.close()
    expect(asked).toEqual([{ client: 'alice', authorization: undefined }])
  })

  test('certificates beside it, read again when the server no longer accepts them', async () => {
    for (const end of ['crt', 'key']) {
      await writeFile(join(folder, `me.${end}`), await readFile(join(folder, `other.${end}`)))
    }
    const to = await connection(
      { 'certificate-authority': 'server.crt' },
      { 'client-certificate': 'me.crt', 'client-key': join(folder, 'me.key') },
    )
    await ask(to)
    for (const end of ['crt', 'key']) {
      await writeFile(join(folder, `me.${end}`), await readFile(join(folder, `alice.${end}`)))
    }
    await ask(to)
    to.refused()
    await ask(to)
    to.close()
    expect(asked.map(({ client }) => client)).toEqual(['other', 'other', 'alice'])
  })

  test('a token, and a token file that is renewed', async () => {
    const ca = { 'certificate-authority': 'server.crt' }
    const fixed = await connection(ca, { token: 'fixed', tokenFile: 'none' })
    await ask(fixed)
    fixed.close()
    await writeFile(join(folder, 'token'), 'old\n')
    const to = await connection(ca, { tokenFile: 'token' })
    await ask(to)
    await writeFile(join(folder, 'token'), 'new\n')
    accept = 'Bearer new'
    await expect(ask(to)).rejects.toMatchObject({ status: 401 })
    await ask(to)
    to.close()
    expect(asked.map(({ authorization }) => authorization)).toEqual([
      'Bearer fixed',
      'Bearer old',
      'Bearer old',
      'Bearer new',
    ])
  })

  test('a server that is not the one of the CA is refused, unless nobody is to check', async () => {
    const wrong = await connection({ 'certificate-authority': 'other.crt' }, {})
    await expect(ask(wrong)).rejects.toMatchObject({ code: 'KUBERNETES_AWAY' })
    wrong.close()
    const name = { 'certificate-authority': 'server.crt', 'tls-server-name': 'elsewhere.example' }
    const named = await connection(name, {})
    await expect(ask(named)).rejects.toMatchObject({ code: 'KUBERNETES_AWAY' })
    named.close()
    const right = await connection({ ...name, 'tls-server-name': 'api.example' }, {})
    await ask(right)
    right.close()
    const unchecked = await connection({ 'insecure-skip-tls-verify': true }, {})
    await ask(unchecked)
    unchecked.close()
    expect(asked).toHaveLength(2)
  })
})

describe('left to client-node', () => {
  test('an exec plugin', async () => {
    const plugin = join(folder, 'plugin.sh')
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: 'made' },
    }
    await writeFile(plugin, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`)
    await chmod(plugin, 0o755)
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' }
    const to = await connection({ 'certificate-authority': 'server.crt' }, { exec })
    await ask(to)
    to.close()
    expect(asked.map(({ authorization }) => authorization)).toEqual(['Bearer made'])
  })
})
