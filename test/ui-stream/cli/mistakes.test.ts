// What people get wrong, row by row, through the built command in a network namespace of its own: each is one sentence
// that names the cause and what to do, with its exit code, and never a stack trace. What clients get wrong on a socket
// is below, against an agent of the same kind.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { CLI } from '../../e2e/agent.js'
import { Testbed } from '../../testbed/index.js'
import { build } from './built.js'

const folder = mkdtempSync(join(tmpdir(), 'vethflow-mistakes-'))
const file = (name: string, text: string | Buffer): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const gone = join(folder, 'gone')

let bed: Testbed
/** Somewhere with a pod's veth, so that there is something to capture. */
let node: Awaited<ReturnType<Testbed['node']>>

beforeAll(async () => {
  build()
  bed = await Testbed.create('mistakes')
  node = await bed.node('n1')
  await node.pod({ name: 'pod' })
}, 120_000)

afterAll(async () => {
  await bed?.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Mistake {
  readonly argv: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Words before the command: setpriv, unshare… */
  readonly under?: readonly string[]
  readonly code: number
  /** The sentence: code, cause, what to do. */
  readonly says: RegExp
}

/** Runs `vethflow` in the node; ends it after 15 s, since no mistake may go unnoticed for so long. */
async function run({ argv, env = {}, under = [] }: Omit<Mistake, 'code' | 'says'>) {
  const task = await node.start([...under, process.execPath, CLI, ...argv], {
    env: { VETHFLOW_SERVER: '', VETHFLOW_TOKEN: '', NO_COLOR: '1', ...env },
  })
  const timer = setTimeout(() => task.signal('SIGKILL'), 15_000)
  const { code, signal } = await task.ended
  clearTimeout(timer)
  return { code: code ?? signal, stdout: task.stdout, stderr: task.stderr }
}

/** Without `names` in any set that could give them back. */
const without = (...names: string[]): string[] => {
  const dropped = names.map((name) => `-${name}`).join(',')
  return ['setpriv', `--bounding-set=${dropped}`, `--inh-caps=${dropped}`, '--']
}
/** In a mount namespace in which `path` is hidden. */
const hiding = (mount: string): string[] => ['unshare', '--mount', 'sh', '-ec', `${mount}; exec "$@"`, 'sh']
const agent = ['agent', '--no-kubernetes', '--listen', '127.0.0.1:0']

const KUBECONFIG = {
  nowhere: 'apiVersion: v1\nkind: Config\nclusters: []\n',
  list: '- a\n- b\n',
}
const config = (name: string, text: string): string[] => ['agent', '--config', file(name, text)]

const mistakes: Record<string, Mistake> = {
  'an unknown command': {
    argv: ['tial'],
    code: 2,
    says: /^vethflow has no command "tial"\. Did you mean tail\?$/,
  },
  'no command': { argv: [], code: 2, says: /takes a command: agent, .*See vethflow --help$/ },
  'an unknown flag': {
    argv: ['agent', '--intreface', 'eth0'],
    code: 2,
    says: /no flag "--intreface"\. Did you mean --interface\?$/,
  },
  'a flag without its value': {
    argv: ['agent', '--node-name'],
    code: 2,
    says: /--node-name takes NAME, and nothing was given$/,
  },
  'a word too many': {
    argv: ['agent', 'start'],
    code: 2,
    says: /takes no argument "start"\. See vethflow agent --help$/,
  },
  'a wrong duration': {
    argv: ['agent', '--update-interval', '10'],
    code: 2,
    says: /--update-interval takes a duration from 100ms to 1h such as 5s, not "10"$/,
  },
  'a number out of bounds': {
    argv: ['agent', '--max-connections', '12'],
    code: 2,
    says: /--max-connections takes a whole number from 1024 to 4194304, not "12"$/,
  },
  'a size without sense': {
    argv: ['agent', '--history', 'much'],
    code: 2,
    says: /--history takes a size .*such as 64MiB, not "much"$/,
  },
  'a variable with a wrong value': {
    argv: ['agent'],
    env: { VETHFLOW_LISTEN: 'here' },
    code: 2,
    says: /VETHFLOW_LISTEN takes ADDRESS:PORT such as .*, not "here"$/,
  },
  'a bad address': {
    argv: ['agent', '--listen', '10.0.0.300:80'],
    code: 2,
    says: /--listen takes ADDRESS:PORT .*not "10\.0\.0\.300:80"$/,
  },
  'a port that is none': {
    argv: ['agent', '--listen', '127.0.0.1:80000'],
    code: 2,
    says: /--listen takes ADDRESS:PORT/,
  },
  'an address that is not this machine': {
    argv: ['agent', '--no-kubernetes', '--listen', '10.99.99.99:4280', '--insecure'],
    code: 1,
    says: /LISTEN_FAILED: Cannot listen on 10\.99\.99\.99:4280: .*address not available.*\. Choose another address or port with --listen$/,
  },
  'an open door': {
    argv: ['agent', '--no-kubernetes', '--listen', ':4280'],
    code: 2,
    says: /--listen \[::\]:4280 is open to other machines.*--tls-cert.*--insecure/,
  },
  'a certificate without its key': {
    argv: ['agent', '--tls-cert', '/etc/x.pem'],
    code: 2,
    says: /--tls-cert and --tls-key go together$/,
  },
  'a token file that is not there': {
    argv: ['agent', '--no-kubernetes', '--token-file', gone],
    code: 2,
    says: /--token-file takes .*cannot be read: /,
  },
  'two sources of names': {
    argv: ['agent', '--manifests', folder, '--kubeconfig', gone],
    code: 2,
    says: /--manifests stands in for an API server and cannot go with --kubeconfig$/,
  },
  'an interface name that cannot be one': {
    argv: ['agent', '--interface', 'eth0/1'],
    code: 2,
    says: /--interface takes an interface name or a pattern such as veth\*, not "eth0\/1"$/,
  },
  'a node name that cannot be one': {
    argv: ['agent', '--node-name', 'Node_1'],
    code: 2,
    says: /--node-name takes a node name .*not "Node_1"$/,
  },
  'an unknown feature': {
    argv: ['agent', '--disable-feature', 'warp'],
    code: 2,
    says: /--disable-feature takes btf, .*, not "warp"$/,
  },

  'a config file that is not there': {
    argv: ['agent', '--config', gone],
    code: 2,
    says: /--config takes a file that can be read, and ".*gone" cannot: there is no such file$/,
  },
  'a directory for a config file': {
    argv: ['agent', '--config', folder],
    code: 2,
    says: /--config takes a file that can be read, .* cannot: it is a directory$/,
  },
  'a config file that is no YAML': {
    argv: config('a.yaml', 'listen: x\na: [b\n: :'),
    code: 2,
    says: /--config takes a YAML file, and ".*" is not one: line [23]: \w/,
  },
  'a list for a config file': {
    argv: config('b.yaml', '[1, 2]'),
    code: 2,
    says: /--config takes a YAML file of flag names and values, and ".*" is something else$/,
  },
  'an unknown key in it': {
    argv: config('c.yaml', 'node-nam: x'),
    code: 2,
    says: /has the unknown key "node-nam"\. Did you mean node-name\?$/,
  },
  'a number for an address in it': {
    argv: config('d.yaml', 'listen: 4280'),
    code: 2,
    says: /listen in .*d\.yaml takes ADDRESS:PORT .*, not "4280"$/,
  },
  'a word for a number in it': {
    argv: config('e.yaml', 'max-connections: many'),
    code: 2,
    says: /max-connections in .* takes a whole number .*, not "many"$/,
  },
  'a structure for a word in it': {
    argv: config('f.yaml', 'listen:\n  host: a'),
    code: 2,
    says: /listen in ".*f\.yaml" takes ADDRESS:PORT, not a structure$/,
  },
  'a list for a single value in it': {
    argv: config('g.yaml', 'node-name: [a, b]'),
    code: 2,
    says: /node-name in ".*" takes NAME, not a list$/,
  },
  'a word for a switch in it': {
    argv: config('h.yaml', 'insecure: perhaps'),
    code: 2,
    says: /insecure in .* takes true or false, not "perhaps"$/,
  },

  'manifests that are not there': {
    argv: ['agent', '--manifests', gone],
    code: 2,
    says: /--manifests takes a file or directory that can be read, and ".*gone" cannot: there is no such file$/,
  },
  'a manifest that is not Kubernetes': {
    argv: ['agent', '--manifests', file('m.yaml', 'hello: you\n')],
    code: 1,
    says: /MANIFEST_INVALID: .*m\.yaml:1: not a Kubernetes object.*kubectl get \.\.\. -o yaml/,
  },
  'a manifest that is no YAML': {
    argv: ['agent', '--manifests', file('n.yaml', 'import x\ndef f():\n  return 1\n')],
    code: 1,
    says: /MANIFEST_INVALID: .*n\.yaml:1: not YAML: .*kubectl get/,
  },
  'half a manifest': {
    argv: ['agent', '--manifests', file('p.json', '{"kind": "Pod"')],
    code: 1,
    says: /MANIFEST_INVALID: .*p\.json:1: not JSON\. .*kubectl get/,
  },
  'a kubeconfig that is not there': {
    argv: ['agent', '--kubeconfig', gone],
    code: 2,
    says: /--kubeconfig takes a file that can be read, and ".*gone" cannot: there is no such file$/,
  },
  'a kubeconfig without a cluster': {
    argv: ['agent', '--kubeconfig', file('k.yaml', KUBECONFIG.nowhere)],
    code: 1,
    says: /KUBECONFIG_INVALID: .*k\.yaml/,
  },
  'a kubeconfig that is something else': {
    argv: ['agent', '--kubeconfig', file('l.yaml', KUBECONFIG.list)],
    code: 1,
    says: /KUBECONFIG_INVALID: .*l\.yaml/,
  },

  'no CAP_BPF': {
    argv: agent,
    under: without('bpf', 'sys_admin'),
    code: 77,
    says: /NO_PERMISSION: .*: CAP_BPF is lacking\. Run as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON$/,
  },
  'no CAP_NET_ADMIN': {
    argv: agent,
    under: without('net_admin'),
    code: 77,
    says: /NO_PERMISSION: .*: CAP_NET_ADMIN is lacking\. Run as root, or grant/,
  },
  'no CAP_PERFMON': {
    argv: agent,
    under: without('perfmon', 'sys_admin'),
    code: 77,
    says: /NO_PERMISSION: .*: CAP_PERFMON is lacking\. Run as root, or grant/,
  },
  'no privilege at all': {
    argv: agent,
    under: ['setpriv', '--reuid=65534', '--clear-groups', '--'],
    code: 77,
    says: /NO_PERMISSION: .*: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are lacking/,
  },
  'no libbpf': {
    argv: agent,
    // The dynamic linker's cache names the file; an empty one in its place is what a broken installation looks like.
    under: hiding(
      'for f in /usr/lib/*/libbpf.so.1 /usr/lib/libbpf.so.1 /usr/lib64/libbpf.so.1; do [ ! -e "$f" ] || mount --bind /dev/null "$f"; done',
    ),
    code: 69,
    says: /LIBBPF_MISSING: .*libbpf\.so\.1.*Install libbpf 1\.0 or newer/,
  },

  'nobody who listens, for tail': {
    argv: ['tail', '--server', '127.0.0.1:1', '--no-reconnect'],
    code: 69,
    says: /UNREACHABLE: .*127\.0\.0\.1:1.*refused/i,
  },
  'nobody who listens, for status': {
    argv: ['status', '--server', '127.0.0.1:1'],
    code: 69,
    says: /UNREACHABLE: .*127\.0\.0\.1:1.*refused.*--server/i,
  },
  'a server whose name nobody knows': {
    argv: ['tail', '--server', 'ws://no-such-host.invalid:4280', '--no-reconnect'],
    code: 69,
    says: /UNREACHABLE: .*no-such-host\.invalid/,
  },
  'a URL of another kind': {
    argv: ['tail', '--server', 'ftp://x'],
    code: 2,
    says: /--server takes a URL such as ws:\/\/127\.0\.0\.1:4280, not "ftp:\/\/x"$/,
  },
  'a bad filter': { argv: ['tail', '--ip', '10.0.0.300'], code: 2, says: /--ip takes an IP address/ },
  'a port that is a name': {
    argv: ['tail', '--port', 'http'],
    code: 2,
    says: /--port takes a port from 1 to 65535/,
  },
  'a time that is none': {
    argv: ['tail', '--since', 'yesterday'],
    code: 2,
    says: /--since takes a duration such as 5m or a time/,
  },
  'a gateway without agents': {
    argv: ['gateway'],
    code: 2,
    says: /takes at least one --agent URL such as ws:\/\/10\.0\.0\.1:4280, or --discover SERVICE\.NAMESPACE$/,
  },
}

const STACK = /\n\s+at |node:internal|\.(?:js|ts):\d+:\d+/

describe('a mistake on the command line', () => {
  test.each(Object.entries(mistakes))('%s', async (_, { code, says, ...how }) => {
    const ended = await run(how)
    expect(ended.stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(ended.stderr.trimEnd()).toMatch(says)
    expect(ended.stderr).not.toMatch(STACK)
    expect(ended.stdout).toBe('')
    expect(ended.code).toBe(code)
  })

  test('a port in use', async () => {
    const first = await node.start([process.execPath, CLI, 'agent', '--no-kubernetes'])
    await first.said(/"msg":"capturing"/, 20_000)
    const second = await run({ argv: ['agent', '--no-kubernetes'] })
    expect(second.stderr.trimEnd()).toMatch(
      /^vethflow agent: LISTEN_FAILED: Cannot listen on 127\.0\.0\.1:4280: .*already in use.*--listen$/,
    )
    expect(second.code).toBe(1)
    await first.stop('SIGTERM', 10_000)
  })
})

describe('what goes on all the same, and is said', () => {
  async function agentThat(says: RegExp, flags: readonly string[], under: readonly string[] = []) {
    const task = await node.start([
      ...under,
      process.execPath,
      CLI,
      'agent',
      '--listen',
      '127.0.0.1:0',
      ...flags,
    ])
    await task.said(/"msg":"capturing"/, 20_000)
    const [said] = await task.said(says, 20_000)
    expect(await task.stop('SIGTERM', 10_000)).toEqual({ code: 0, signal: null })
    expect(task.stderr).not.toMatch(STACK)
    return said
  }

  test('a pattern for interfaces that matches none', async () => {
    await agentThat(
      /no interface is captured yet: none is here that --interface nosuch\* asks for; there are .*lo \(not among the interfaces asked for\)/,
      ['--no-kubernetes', '--interface', 'nosuch*'],
    )
  })

  test('a kubeconfig that points nowhere', async () => {
    const path = file(
      'away.yaml',
      [
        'apiVersion: v1',
        'kind: Config',
        'current-context: a',
        'contexts: [{name: a, context: {cluster: a, user: a}}]',
        'clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]',
        'users: [{name: a, user: {token: x}}]',
      ].join('\n'),
    )
    await agentThat(/KUBERNETES_AWAY: cannot reach the API server at 127\.0\.0\.1:1: /, [
      '--kubeconfig',
      path,
    ])
  })

  test('no type information of the kernel: captured, and named among the features', async () => {
    const task = await node.start([
      ...hiding('mount -t tmpfs none /sys/kernel/btf'),
      process.execPath,
      CLI,
      'agent',
      '--no-kubernetes',
    ])
    try {
      await task.said(/"msg":"capturing"/, 20_000)
      const { stdout } = await node.exec([process.execPath, CLI, 'status', '-o', 'json'])
      const status = JSON.parse(stdout) as {
        capturing: boolean
        features: { name: string; enabled: boolean; reason: string }[]
      }
      expect(status.capturing).toBe(true)
      const off = status.features.filter(({ enabled }) => !enabled)
      expect(off.slice(0, 2).map(({ name, reason }) => [name, reason])).toEqual([
        ['btf', 'no /sys/kernel/btf/vmlinux'],
        ['conntrack', 'needs btf'],
      ])
      // What else is off hangs on those.
      expect(off.slice(2).filter(({ reason }) => !reason.startsWith('needs '))).toEqual([])
    } finally {
      expect(await task.stop('SIGTERM', 10_000)).toEqual({ code: 0, signal: null })
    }
  })
})

describe('a mistake on a socket', () => {
  let port = 0
  let close: () => Promise<void>

  beforeAll(async () => {
    const task = await node.start([process.execPath, CLI, 'agent', '--no-kubernetes'])
    await task.said(/"msg":"capturing"/, 20_000)
    const forward = await bed.forward(node, '127.0.0.1:4280')
    port = forward.port
    close = async () => {
      await task.stop('SIGTERM', 10_000)
      expect(task.stderr).not.toMatch(STACK)
      expect(task.stderr).not.toMatch(/"level":[56]0/)
      await forward.task.stop()
    }
  }, 60_000)

  afterAll(async () => {
    await close?.()
  })

  /** What a client is told: text frames, then how the connection was closed. */
  function talk(
    path: string,
    offer: string,
    send?: string | Buffer,
  ): Promise<{ frames: string[]; code: number }> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, offer)
      const frames: string[] = []
      socket.on('open', () => send !== undefined && socket.send(send))
      socket.on('message', (data: Buffer) => frames.push(data.toString()))
      socket.on('close', (code) => resolve({ frames, code }))
      socket.on('error', reject)
    })
  }

  /** What comes back to bytes that ask for an upgrade, and those that follow it. */
  function raw(...parts: (string | Buffer)[]): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1')
      const answer: Buffer[] = []
      socket.on('data', (data) => answer.push(data))
      socket.on('close', () => resolve(Buffer.concat(answer)))
      socket.on('error', reject)
      for (const part of parts) socket.write(part)
    })
  }
  const upgrade = (path: string, ...headers: string[]): string =>
    [
      `GET ${path} HTTP/1.1`,
      'Host: 127.0.0.1',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      ...headers,
      '',
      '',
    ].join('\r\n')

  test.each([
    ['a bad filter', '?ip=10.0.0.300', undefined, 1008, 'BAD_FILTER', /ip/],
    ['an unknown filter', '?namespce=shop', undefined, 1008, 'BAD_QUERY', /namespce/],
    ['a bad number', '?last=many', undefined, 1008, 'BAD_QUERY', /last/],
    ['a cursor of somebody else', '?cursor=x', undefined, 1008, 'BAD_CURSOR', /cursor/],
    ['a message that is no JSON', '', '{"subscribe":', 1002, 'BAD_MESSAGE', /./],
    ['a message nobody knows', '', '{"hello": 1}', 1002, 'BAD_MESSAGE', /./],
  ])('%s', async (_, query, send, close, code, text) => {
    const { frames, code: closed } = await talk(`/v1/flows${query}`, 'vethflow.v1.json', send)
    expect(closed).toBe(close)
    expect(frames).toHaveLength(1)
    const { error } = JSON.parse(frames[0] ?? '') as { error: { code: string; message: string } }
    expect(error.code).toBe(code)
    expect(error.message).toMatch(text)
    expect(error.message).not.toMatch(STACK)
  })

  test('a JSON message of 1 MB is closed as too big', async () => {
    const large = JSON.stringify({ subscribe: { expression: 'x'.repeat(1 << 20) } })
    expect(await talk('/v1/flows', 'vethflow.v1.json', large)).toEqual({ frames: [], code: 1009 })
  })

  test('an unknown subprotocol is told which there are', async () => {
    const answer = (await raw(upgrade('/v1/flows', 'Sec-WebSocket-Protocol: vethflow.v9.xml'))).toString()
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toMatch(/Offer one of the subprotocols .*vethflow\.v1\.json/)
  })

  test('a stream where there is none', async () => {
    const answer = (await raw(upgrade('/v2/flows'))).toString()
    expect(answer).toMatch(/^HTTP\/1\.1 404 [\s\S]*flows are at \/v1\/flows/)
  })

  test.each([
    ['a frame without its mask', Buffer.from([0x81, 0x02, 0x7b, 0x7d])],
    ['a frame with reserved bits', Buffer.from([0xf1, 0x80, 0, 0, 0, 0])],
    ['a frame of an unknown kind', Buffer.from([0x83, 0x80, 0, 0, 0, 0])],
    [
      'a control frame that is too long',
      Buffer.concat([Buffer.from([0x89, 0xfe, 0x01, 0x00, 0, 0, 0, 0]), Buffer.alloc(256)]),
    ],
    ['text that is not UTF-8', Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe])],
  ])('%s ends that connection', async (_, frame) => {
    const answer = await raw(upgrade('/v1/flows', 'Sec-WebSocket-Protocol: vethflow.v1.json'), frame)
    expect(answer.toString('latin1')).toMatch(/^HTTP\/1\.1 101 /)
    // The last frame is a close (0x88) of two bytes and more, with a code of RFC 6455.
    const close = answer.lastIndexOf(0x88)
    expect(close).toBeGreaterThan(0)
    expect([1002, 1007]).toContain(answer.readUInt16BE(close + 2))
  })

  test('and the agent goes on', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`)
    expect(answer.status).toBe(200)
  })
})
