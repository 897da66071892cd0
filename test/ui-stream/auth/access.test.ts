// Who gets in, row by row, over real TLS and real sockets: shared tokens, client certificates, tickets, and their ends.

import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { StreamServer, StreamServerOptions } from '../../../ui-stream/server/server.js'
import { closeAll, numbered, openServer, range } from '../server/harness.js'
import { type Ask, ask, bearer, Stream } from './ask.js'
import { Authority } from './authority.js'

const RIGHT = 'right-token-0123456789'
const OTHER = 'other-token-0123456789'
const WRONG = 'wrong-token-0123456789'
let authority: Authority
let folder: string
const ends: (() => unknown)[] = []

beforeAll(() => {
  authority = new Authority()
})
afterAll(() => authority.remove())
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

function tokenFile(text = `# rotated by hand\n${RIGHT}\n`): string {
  folder = mkdtempSync(join(tmpdir(), 'vethflow-access-'))
  const made = folder
  ends.push(() => rmSync(made, { recursive: true }))
  const path = join(folder, 'tokens')
  writeFileSync(path, text)
  return path
}

/** A server beyond loopback, as far as its checks go: TLS and tokens, files looked at every 20 ms. */
async function openSecure(
  options: Partial<StreamServerOptions> = {},
): Promise<{ server: StreamServer; address: string }> {
  const { certFile, keyFile } = authority.issue('server')
  const server = await openServer({
    listen: '0.0.0.0:0',
    reviewIntervalMs: 50,
    ...options,
    security: {
      tls: { cert: certFile, key: keyFile },
      tokenFile: tokenFile(),
      filePollMs: 20,
      ...options.security,
    },
  })
  return { server, address: `127.0.0.1:${server.address.split(':').at(-1)}` }
}

const tls = () => ({ ca: authority.ca })

async function stream(address: string, query: string, options: Ask = {}): Promise<Stream> {
  const opened = await Stream.open(address, query, { tls: tls(), ...options })
  ends.push(() => opened.close())
  return opened
}

describe('who gets what', () => {
  const credentials: [string, Ask, number, number][] = [
    ['no token', {}, 401, 401],
    ['a wrong token', { headers: bearer(WRONG) }, 401, 401],
    ['the beginning of the right one', { headers: bearer(RIGHT.slice(0, -1)) }, 401, 401],
    ['more than the right one', { headers: bearer(`${RIGHT}x`) }, 401, 401],
    ['an empty one', { headers: { authorization: 'Bearer ' } }, 401, 401],
    ['the right one as a password', { headers: { authorization: `Basic ${btoa(`x:${RIGHT}`)}` } }, 401, 401],
    ['the right one', { headers: bearer(RIGHT) }, 200, 101],
    ['the right one, spelled otherwise', { headers: { authorization: `bearer  ${RIGHT}` } }, 200, 101],
  ]
  test.each(credentials)('%s', async (_name, given, page, upgrade) => {
    const { server, address } = await openSecure()
    server.publish(numbered(1, 5))
    server.publishLost([{ nodeName: 'secret-node', stage: 2, unit: 1, count: 5 }])
    for (const path of ['/healthz', '/readyz', '/']) {
      expect((await ask(address, path, { tls: tls(), ...given })).status, path).toBe(200)
    }
    for (const path of ['/v1/status', '/metrics', '/v1/flows', '/nowhere']) {
      const answer = await ask(address, path, { tls: tls(), ...given })
      const open = path === '/v1/flows' ? 426 : path === '/nowhere' ? 404 : 200
      expect(answer.status, path).toBe(page === 200 ? open : page)
      if (page === 200) continue
      expect(answer.headers['www-authenticate'], path).toMatch(/^Bearer/)
      expect(answer.body, path).not.toMatch(/node|run1|right|\d{3}/)
    }
    expect((await ask(address, '/v1/ticket', { tls: tls(), ...given, method: 'POST' })).status).toBe(page)
    const opened = await stream(address, '?last=10', given)
    if (upgrade === 101) {
      expect(await opened.ended()).toBe(1000)
      expect(opened.ids).toEqual(range(1, 5))
    } else {
      expect(opened.refused?.status).toBe(upgrade)
      expect(opened.refused?.body).not.toMatch(/node|run1|right/)
    }
  })

  test('a token in the URL is refused, also the right one, and so it is never of use in a log', async () => {
    const { address } = await openSecure()
    for (const name of ['access_token', 'token']) {
      const query = `?${name}=${RIGHT}`
      expect((await ask(address, `/v1/status${query}`, { tls: tls() })).status).toBe(400)
      expect((await stream(address, query)).refused?.status).toBe(400)
      expect((await stream(address, query, { headers: bearer(RIGHT) })).refused?.status).toBe(400)
    }
  })

  test('on loopback nobody is asked, unless there is a token file', async () => {
    const open = await openServer()
    expect((await ask(open.address, '/metrics')).status).toBe(200)
    const closed = await openServer({ security: { tokenFile: tokenFile() } })
    expect((await ask(closed.address, '/metrics')).status).toBe(401)
    expect((await ask(closed.address, '/metrics', { headers: bearer(RIGHT) })).status).toBe(200)
  })

  test('beyond loopback there is TLS and a token, or the word that it is insecure', async () => {
    const { certFile: cert, keyFile: key } = authority.issue('server')
    const listen = '0.0.0.0:0'
    const refused = (security: NonNullable<StreamServerOptions['security']>) =>
      openServer({ listen, security }).then(
        () => 'open',
        (error: Error) => error.message,
      )
    expect(await refused({})).toContain('without TLS and a token')
    expect(await refused({ tls: { cert, key } })).toContain('without a token')
    expect(await refused({ tokenFile: tokenFile() })).toContain('without TLS')
    expect(await refused({ tls: { cert, key }, tokenFile: tokenFile() })).toBe('open')
    expect(await refused({ tls: { cert, key, clientCa: authority.caFile } })).toBe('open')
    const insecure = await openServer({ listen, insecure: true, security: { tokenFile: tokenFile() } })
    const address = `127.0.0.1:${insecure.address.split(':').at(-1)}`
    expect((await ask(address, '/metrics')).status).toBe(401)
  })

  test.each([
    ['', /--token-file takes .* 1 to 64 of them, and .* has 0/],
    ['short\n', /--token-file takes a file with a token of 16 to 4096 characters/],
    [`${RIGHT}\nhas a blank in it, which no header takes\n`, /number 2/],
    [`${`${RIGHT}\n`.repeat(65)}`, /has 65/],
  ])('the token file %j is refused, and nothing of it is repeated', async (text, message) => {
    const refusal = await openServer({ security: { tokenFile: tokenFile(text) } }).catch(
      (error: Error) => error,
    )
    expect(refusal).toMatchObject({ code: 'USAGE', exitCode: 2 })
    expect((refusal as Error).message).toMatch(message)
    expect((refusal as Error).message).not.toMatch(/right|blank|"short/)
  })
})

describe('certificates', () => {
  test.each([
    ['of the authority', () => authority.issue('gateway', 'clientAuth'), 200],
    ['of the authority, but for servers', () => authority.issue('gateway', 'serverAuth'), 401],
    ['of another authority with the same name', () => foreign(), 401],
    ['that signed itself', () => selfSigned(), 401],
    ['that has expired', () => expired(), 401],
    ['none', () => undefined, 401],
  ])('%s', async (_name, make, status) => {
    const { certFile, keyFile } = authority.issue('server')
    const { address } = await openSecure({
      security: { tls: { cert: certFile, key: keyFile, clientCa: authority.caFile } },
    })
    const shown = make()
    const context = { ...tls(), ...(shown && { cert: shown.cert, key: shown.key }) }
    expect((await ask(address, '/metrics', { tls: context })).status).toBe(status)
    const opened = await stream(address, '', { tls: context })
    expect(opened.refused?.status ?? 200).toBe(status)
    // Whoever shows none, or one that does not count, may still have a token; probes need neither.
    expect((await ask(address, '/metrics', { tls: context, headers: bearer(RIGHT) })).status).toBe(200)
    expect((await ask(address, '/healthz', { tls: context })).status).toBe(200)
  })

  test('a session that is resumed without a certificate gets nothing', async () => {
    const { certFile, keyFile } = authority.issue('server')
    const { address } = await openSecure({
      security: { tls: { cert: certFile, key: keyFile, clientCa: authority.caFile } },
    })
    const [host = '', port = ''] = address.split(':')
    const dial = (
      session?: Buffer,
    ): Promise<{ reused: boolean; status: string; session: Buffer | undefined }> =>
      new Promise((resolve, reject) => {
        let kept: Buffer | undefined
        let reused = false
        let text = ''
        const socket: TLSSocket = connectTls({
          host,
          port: Number(port),
          ca: authority.ca,
          ...(session && { session }),
        })
        socket.on('session', (fresh: Buffer) => {
          kept = fresh
        })
        socket.on('secureConnect', () => {
          reused = socket.isSessionReused()
          socket.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        })
        socket.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        socket.on('error', reject)
        socket.on('close', () => resolve({ reused, status: text.split(' ')[1] ?? '', session: kept }))
      })
    const first = await dial()
    expect(first).toMatchObject({ reused: false, status: '401' })
    expect(await dial(first.session)).toMatchObject({ reused: true, status: '401' })
  })

  function foreign() {
    const other = new Authority()
    ends.push(() => other.remove())
    return other.issue('gateway')
  }

  function selfSigned() {
    const other = new Authority('gateway')
    ends.push(() => other.remove())
    return { cert: other.ca, key: execFileSync('cat', [join(other.folder, 'ca.key')], { encoding: 'utf8' }) }
  }

  function expired() {
    return authority.issue('gateway', 'clientAuth', ['-days', '-1'])
  }
})

describe('files that change', () => {
  test('another certificate is shown to whoever comes next; those who are there stay', async () => {
    const one = authority.issue('one')
    const two = authority.issue('two')
    const paths = { cert: join(authority.folder, 'live.pem'), key: join(authority.folder, 'live.key') }
    copyFileSync(one.certFile, paths.cert)
    copyFileSync(one.keyFile, paths.key)
    const complaints: string[] = []
    const { server, address } = await openSecure({
      security: { tls: paths },
      log: { info() {}, debug() {}, warn: (_fields, message) => complaints.push(message) },
    })
    const [host, port] = address.split(':')
    const shown = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connectTls({ host: host!, port: Number(port), ca: authority.ca }, () => {
          resolve(String(socket.getPeerCertificate().subject.CN))
          socket.destroy()
        })
        socket.on('error', reject)
      })
    const before = await stream(address, '', { headers: bearer(RIGHT) })
    expect(await shown()).toBe('one')
    // A certificate whose key is not there yet: the old pair stays in force, and is complained of.
    copyFileSync(two.certFile, paths.cert)
    await expect.poll(() => complaints.join()).toContain('what was read before stays in force')
    expect(await shown()).toBe('one')
    copyFileSync(two.keyFile, paths.key)
    await expect.poll(shown).toBe('two')
    server.publish(numbered(1, 3))
    await before.until(() => before.flows.length === 3)
    expect(before.closeCode).toBeUndefined()
  })

  test('a token that is taken out cuts its streams with ACCESS_REVOKED; the others go on', async () => {
    const path = tokenFile(`${RIGHT}\n${OTHER}\n`)
    const { server, address } = await openSecure({ security: { tokenFile: path } })
    const [leaves, stays] = await Promise.all([
      stream(address, '', { headers: bearer(RIGHT) }),
      stream(address, '', { headers: bearer(OTHER) }),
    ])
    writeFileSync(`${path}.new`, `${OTHER}\n`)
    renameSync(`${path}.new`, path)
    expect(await leaves.ended()).toBe(1008)
    expect(leaves.error).toBe('ACCESS_REVOKED')
    server.publish(numbered(1, 3))
    await stays.until(() => stays.flows.length === 3)
    expect(leaves.flows).toEqual([])
    expect((await stream(address, '', { headers: bearer(RIGHT) })).refused?.status).toBe(401)
  })

  test('files are followed through the links that Kubernetes turns round; a file that is gone changes nothing', async () => {
    const path = tokenFile()
    const [first, second] = [join(folder, 'data-1'), join(folder, 'data-2')]
    writeFileSync(first, `${RIGHT}\n`)
    writeFileSync(second, `${OTHER}\n`)
    unlinkSync(path)
    symlinkSync(first, path)
    const complaints: string[] = []
    const { address } = await openSecure({
      security: { tokenFile: path },
      log: { info() {}, debug() {}, warn: (_fields, message) => complaints.push(message) },
    })
    const status = async (token: string) =>
      (await ask(address, '/metrics', { tls: tls(), headers: bearer(token) })).status
    expect(await status(RIGHT)).toBe(200)
    symlinkSync(second, `${path}.new`)
    renameSync(`${path}.new`, path)
    await expect.poll(() => status(OTHER)).toBe(200)
    unlinkSync(path)
    await expect.poll(() => complaints.join()).toContain('stay in force')
    expect(await status(OTHER)).toBe(200)
    expect(complaints.join()).not.toMatch(/token-0123/)
  })
})

describe('tickets', () => {
  test('take the place of the token once, for the page that fetched them', async () => {
    const { server, address } = await openSecure()
    const origin = { Origin: `https://${address}` }
    const fetchTicket = async (): Promise<string> => {
      const answer = await ask(address, '/v1/ticket', {
        tls: tls(),
        method: 'POST',
        headers: { ...bearer(RIGHT), ...origin },
      })
      expect(answer).toMatchObject({ status: 200, headers: { 'cache-control': 'no-store' } })
      const { ticket, expiresInMs } = JSON.parse(answer.body) as { ticket: string; expiresInMs: number }
      expect(expiresInMs).toBe(30_000)
      return ticket
    }
    const ticket = await fetchTicket()
    const opened = await stream(address, `?ticket=${ticket}`, { headers: origin })
    server.publish(numbered(1, 2))
    await opened.until(() => opened.flows.length === 2)
    expect((await stream(address, `?ticket=${ticket}`, { headers: origin })).refused?.status).toBe(401)
    expect((await stream(address, `?ticket=${await fetchTicket()}`)).refused?.status).toBe(401)
    // Good for a stream only.
    const page = await ask(address, `/v1/status?ticket=${await fetchTicket()}`, {
      tls: tls(),
      headers: origin,
    })
    expect(page.status).toBe(401)
    expect((await stream(address, '?ticket=', { headers: origin })).refused?.status).toBe(401)
  })

  test('are fetched by POST alone, without a body, from our own page', async () => {
    const { address } = await openSecure()
    const headers = bearer(RIGHT)
    expect((await ask(address, '/v1/ticket', { tls: tls(), headers })).status).toBe(405)
    expect(
      (await ask(address, '/v1/ticket', { tls: tls(), headers, method: 'POST', body: 'x' })).status,
    ).toBe(413)
    const foreign = { ...headers, Origin: 'https://evil.example' }
    expect((await ask(address, '/v1/ticket', { tls: tls(), headers: foreign, method: 'POST' })).status).toBe(
      403,
    )
    const plain = { ...headers, Origin: `http://${address}` }
    expect((await ask(address, '/v1/ticket', { tls: tls(), headers: plain, method: 'POST' })).status).toBe(
      403,
    )
  })

  test('of a token that was taken out meanwhile are worth nothing', async () => {
    const path = tokenFile(`${RIGHT}\n${OTHER}\n`)
    const { address } = await openSecure({ security: { tokenFile: path } })
    const answer = await ask(address, '/v1/ticket', { tls: tls(), method: 'POST', headers: bearer(RIGHT) })
    const { ticket } = JSON.parse(answer.body) as { ticket: string }
    writeFileSync(path, `${OTHER}\n`)
    await expect
      .poll(async () => (await ask(address, '/metrics', { tls: tls(), headers: bearer(RIGHT) })).status)
      .toBe(401)
    expect((await stream(address, `?ticket=${ticket}`)).refused?.status).toBe(401)
  })
})

describe('those who do harm', () => {
  test('guessing is slowed down: ten wrong tokens, then 429 with Retry-After, the right one included', async () => {
    const { address } = await openSecure()
    const answers = []
    for (let i = 0; i < 12; i++) {
      answers.push(await ask(address, '/metrics', { tls: tls(), headers: bearer(`${WRONG}${i}`) }))
    }
    expect(answers.map(({ status }) => status)).toEqual([...Array(10).fill(401), 429, 429])
    expect(Number(answers[10]?.headers['retry-after'])).toBeGreaterThan(0)
    expect((await stream(address, '', { headers: bearer(RIGHT) })).refused?.status).toBe(429)
    expect((await ask(address, '/healthz', { tls: tls() })).status).toBe(200)
    // No token is no guess.
    expect((await ask(address, '/metrics', { tls: tls() })).status).toBe(401)
  })

  test('headers beyond 16 KiB are refused; headers and handshakes that never end are cut off after ten seconds', async () => {
    const { address } = await openSecure()
    const large = await ask(address, '/metrics', { tls: tls(), headers: bearer('x'.repeat(20_000)) })
    expect(large.status).toBe(431)
    const open = await openServer()
    const began = performance.now()
    const cut = async (where: string, words: readonly string[]): Promise<string> => {
      const [host, port] = where.split(':')
      const socket = connectTcp(Number(port), host)
      let text = ''
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      socket.on('error', () => undefined)
      socket.write(words[0] ?? '')
      const drip = setInterval(() => socket.write(words[1] ?? ''), 500)
      await new Promise((resolve) => socket.on('close', resolve))
      clearInterval(drip)
      expect(performance.now() - began, where).toBeGreaterThan(9000)
      expect(performance.now() - began, where).toBeLessThan(20_000)
      return text
    }
    const [headers] = await Promise.all([
      cut(open.address, ['GET /v1/flows HTTP/1.1\r\n', 'X-Slow: 1\r\n']),
      cut(address, []),
    ])
    expect(headers).toMatch(/^HTTP\/1\.1 408 /)
  })

  test('no page may be framed, mixed with scripts of others, or taken for something else', async () => {
    const { address } = await openSecure()
    for (const [path, given] of [
      ['/', {}],
      ['/healthz', {}],
      ['/v1/status', {}],
      ['/v1/status', { headers: bearer(RIGHT) }],
      ['/metrics', { headers: bearer(RIGHT) }],
    ] as const) {
      const { headers } = await ask(address, path, { tls: tls(), ...given })
      expect(headers, path).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'cross-origin-resource-policy': 'same-origin',
      })
      const csp = String(headers['content-security-policy'])
      for (const rule of [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
      ]) {
        expect(csp.split('; '), path).toContain(rule)
      }
      expect(csp).not.toContain('unsafe')
    }
  })
})
