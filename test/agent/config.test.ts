import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { parseAgentConfig } from '../../agent/config.js'
import { ExitCode, VethflowError } from '../../agent/errors.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vethflow-config-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(text: string): string {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.yaml`)
  writeFileSync(path, text)
  return path
}

function refusal(run: () => unknown): VethflowError {
  try {
    run()
  } catch (error) {
    if (error instanceof VethflowError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

test('the contract gives the defaults', () => {
  const config = parseAgentConfig([], {})
  expect(config).toMatchObject({
    listen: { host: '127.0.0.1', port: 4280 },
    updateIntervalMs: 5000,
    maxConnections: 131_072,
    historyBytes: 64 * 1024 * 1024,
    interfaces: [],
    excludeInterfaces: [],
    kubernetes: true,
    kubeconfig: undefined,
    manifests: undefined,
    insecure: false,
    loopback: false,
  })
  expect(config.nodeName).not.toBe('')
})

test('flags of every form', () => {
  const config = parseAgentConfig(
    [
      ...['--node-name', 'n1', '--manifests=test/fixtures/', '--no-kubernetes', '--listen', '[::1]:0'],
      ...['--interface', 'veth*', '--interface=eth0', '--exclude-interface', 'docker?'],
      ...['--address-group', '10.20.0.0/16=the office', '--address-group=2001:db8::/32=lab'],
      ...['--identity-mode', 'local'],
      ...['--update-interval', '1m30s', '--max-connections', '4096', '--history', '1.5GiB'],
    ],
    {},
  )
  expect(config).toEqual({
    nodeName: 'n1',
    kubeconfig: undefined,
    manifests: 'test/fixtures/',
    kubernetes: false,
    identityMode: 'local',
    addressGroups: [
      { range: { words: [0, 0, 0xffff, 0x0a140000], bits: 112 }, name: 'the office' },
      { range: { words: [0x20010db8, 0, 0, 0], bits: 32 }, name: 'lab' },
    ],
    listen: { host: '::1', port: 0 },
    interfaces: ['veth*', 'eth0'],
    excludeInterfaces: ['docker?'],
    disableFeatures: [],
    updateIntervalMs: 90_000,
    maxConnections: 4096,
    historyBytes: 1.5 * 2 ** 30,
    security: {},
    auth: undefined,
    insecure: false,
    loopback: false,
  })
})

describe('what weighs more', () => {
  const yaml = 'update-interval: 3s\nnode-name: from-file\nmax-connections: 2048\ninterface: [veth*, cali*]\n'

  test('a flag beats a variable, which beats the file', () => {
    const path = file(yaml)
    const all = parseAgentConfig(['--config', path, '--update-interval', '1s'], {
      VETHFLOW_UPDATE_INTERVAL: '2s',
      VETHFLOW_NODE_NAME: 'from-variable',
    })
    expect(all).toMatchObject({
      updateIntervalMs: 1000,
      nodeName: 'from-variable',
      maxConnections: 2048,
      interfaces: ['veth*', 'cali*'],
    })
  })

  test('a repeated flag replaces the list below it', () => {
    const path = file(yaml)
    expect(parseAgentConfig(['--config', path, '--interface', 'eth0'], {}).interfaces).toEqual(['eth0'])
    expect(parseAgentConfig([], { VETHFLOW_CONFIG: path, VETHFLOW_INTERFACE: 'a,b' }).interfaces).toEqual([
      'a',
      'b',
    ])
  })

  test('a switch can be turned off above a file that turns it on', () => {
    const path = file('insecure: true\nlisten: ":4280"\n')
    expect(parseAgentConfig(['--config', path], {})).toMatchObject({
      insecure: true,
      listen: { host: '::', port: 4280 },
    })
    expect(refusal(() => parseAgentConfig(['--config', path, '--insecure=false'], {})).message).toContain(
      '--listen',
    )
  })

  test('variables that Kubernetes sets beside a service called vethflow mean nothing', () => {
    const env = {
      VETHFLOW_PORT: 'tcp://10.96.0.9:4280',
      VETHFLOW_SERVICE_HOST: '10.96.0.9',
      VETHFLOW_SERVICE_PORT: '4280',
    }
    expect(parseAgentConfig([], env)).toEqual(parseAgentConfig([], {}))
  })
})

describe('refusals name the flag and what it takes', () => {
  test.each([
    [['--update-interval', '5'], '--update-interval takes a duration from 100ms to 1h such as 5s, not "5"'],
    [['--update-interval', '99ms'], '--update-interval takes'],
    [['--update-interval', '61m'], '--update-interval takes'],
    [['--update-interval'], '--update-interval takes DURATION, and nothing was given'],
    [['--update-interval', '--insecure'], '--update-interval takes DURATION, and nothing was given'],
    [
      ['--max-connections', '1023'],
      '--max-connections takes a whole number from 1024 to 4194304, not "1023"',
    ],
    [['--max-connections', '4194305'], '--max-connections takes'],
    [['--max-connections', '-1'], '--max-connections takes'],
    [['--max-connections', '1e5'], '--max-connections takes'],
    [['--history', '64 parsecs'], '--history takes a size up to 16GiB such as 64MiB, not "64 parsecs"'],
    [['--history', '17GiB'], '--history takes'],
    [['--listen', '4280'], '--listen takes ADDRESS:PORT such as 127.0.0.1:4280 or [::1]:4280, not "4280"'],
    [['--listen', '127.0.0.1:65536'], '--listen takes'],
    [['--listen', '::1:4280'], '--listen takes'],
    [['--listen', 'example.com:4280'], '--listen takes'],
    [['--listen', '0.0.0.0:4280'], '--listen 0.0.0.0:4280 is open to other machines'],
    [['--interface', 'a b'], '--interface takes an interface name or a pattern such as veth*, not "a b"'],
    [['--interface', ''], '--interface takes'],
    [['--node-name', 'Node_1'], '--node-name takes'],
    [['--kubeconfig', ''], '--kubeconfig takes a file, not ""'],
    [['--insecure=maybe'], '--insecure takes true or false, not "maybe"'],
    [['--manifests', 'a', '--kubeconfig', 'b'], '--manifests stands in for an API server'],
    [['--no-kubernetes', '--kubeconfig', 'b'], '--no-kubernetes cannot go with --kubeconfig'],
    [['--pin'], '--pin is not available in this version'],
    [['--nats', 'nats://x'], '--nats is not available in this version'],
    [['--tls-cert', 'x'], '--tls-cert and --tls-key go together'],
    [['--tls-key', 'x'], '--tls-cert and --tls-key go together'],
    [['--client-ca', 'x'], '--client-ca takes --tls-cert and --tls-key beside it'],
    [['--auth', 'kubernetes', '--no-kubernetes'], '--no-kubernetes cannot go with --auth kubernetes'],
    [['--auth', 'kubernetes', '--history', '0'], '--auth kubernetes takes a --history of at least 1MiB'],
    [['--auth', 'oidc'], '--auth takes kubernetes, not "oidc"'],

    [['--listen', ':4280', '--token-file', 'x'], 'is open to other machines, without TLS'],
    [
      ['--listen', ':4280', '--tls-cert', 'x', '--tls-key', 'x'],
      'is open to other machines, without a token',
    ],
    [['--updateinterval', '5s'], 'vethflow agent has no flag "--updateinterval"'],
    [['extra'], 'vethflow agent takes no argument "extra"'],
    [['--config', '/nonexistent/x.yaml'], '--config takes a file that can be read'],
    [
      ['--listen', 'a\u001b[31m'],
      '--listen takes ADDRESS:PORT such as 127.0.0.1:4280 or [::1]:4280, not "a\\u001b[31m"',
    ],
  ])('%j', (argv, message) => {
    const error = refusal(() => parseAgentConfig(argv, {}))
    expect(error.message).toContain(message)
    expect(error.exitCode).toBe(ExitCode.USAGE)
    expect(error.message).not.toMatch(/[\n\u001b]/)
  })

  test('near misses are guessed', () => {
    expect(refusal(() => parseAgentConfig(['--updateinterval', '5s'], {})).hint).toBe(
      'Did you mean --update-interval?',
    )
    expect(refusal(() => parseAgentConfig(['--zzzzzzzzzzz'], {})).hint).toBe('See vethflow agent --help')
  })

  test('variables are named as such', () => {
    expect(refusal(() => parseAgentConfig([], { VETHFLOW_HISTORY: 'x' })).message).toContain(
      'VETHFLOW_HISTORY takes',
    )
  })

  test.each([
    ['- a\n- b\n', 'YAML file of flag names'],
    ['just text', 'YAML file of flag names'],
    ['a: [', 'is not one'],
    ['histroy: 1MiB\n', 'has the unknown key "histroy"'],
    ['config: other.yaml\n', 'has the unknown key "config"'],
    ['history: [1MiB, 2MiB]\n', 'not a list'],
    ['history:\n', 'not nothing'],
    ['history: {a: 1}\n', 'not a structure'],
    ['history: x\n', 'history in '],
    ['pin: true\n', 'is not available in this version'],
  ])('file %j', (text, message) => {
    const error = refusal(() => parseAgentConfig(['--config', file(text)], {}))
    expect(error.message).toContain(message)
    expect(error.exitCode).toBe(ExitCode.USAGE)
  })

  test('an empty file says nothing', () => {
    expect(parseAgentConfig(['--config', file('# nothing\n')], {})).toEqual(parseAgentConfig([], {}))
  })
})

test('address groups as a list in the file, and what is none', () => {
  const path = file('address-group: [10.0.0.0/8=inside, 10.1.0.0/16=rack 1]\nidentity-mode: full\n')
  const config = parseAgentConfig(['--config', path], {})
  expect(config.addressGroups.map(({ name, range }) => `${name} ${range.bits}`)).toEqual([
    'inside 104',
    'rack 1 112',
  ])
  expect(config.identityMode).toBe('full')
  for (const text of [
    '10.0.0.0/8',
    '10.0.0.0=x',
    '=x',
    '10.0.0.0/33=x',
    '10.0.0.0/8=',
    `10.0.0.0/8=${'x'.repeat(64)}`,
  ])
    expect(refusal(() => parseAgentConfig(['--address-group', text], {})).message).toContain(
      '--address-group takes CIDR=NAME such as 10.20.0.0/16=office',
    )
})
