import { beforeAll, describe, expect, test } from 'vitest'

import { build, run, shell } from './built.js'

beforeAll(build)

describe('wrong usage: exit code 2, one line that names what is wrong, no stack', () => {
  test.each([
    [[], 'takes a command'],
    [['tial'], 'Did you mean tail?'],
    [['top'], 'has no command "top"'],
    [['why', 'a', 'b'], 'has no command "why"'],
    [['constructor'], 'has no command "constructor"'],
    [['--server', 'x', 'tail'], 'has no flag "--server" before the command'],
    [['tail', '--folow'], 'Did you mean --follow?'],
    [['tail', 'pods'], 'takes no argument "pods"'],
    [['tail', '--last', 'many'], '--last takes a whole number'],
    [['tail', '--last', '-5'], '--last takes a whole number'],
    [['tail', '--since', 'yesterday'], '--since takes a duration such as 5m or a time'],
    [['tail', '--until', '5'], '--until takes'],
    [['tail', '-o', 'yaml'], '--output takes compact, wide, json, not "yaml"'],
    [['tail', '-o', 'custom=x'], '--output custom=... is not available in this version'],
    [['tail', '--color', 'sometimes'], '--color takes auto, always, never'],
    [['tail', '--server', 'ftp://x'], '--server takes a URL such as ws://127.0.0.1:4280, not "ftp://x"'],
    [['tail', '--server', 'ws://user:secret@x'], '--server takes no user or password'],
    [['tail', '--server'], '--server takes URL, and nothing was given'],
    [['tail', '--token-file', '/nonexistent'], '--token-file takes a file that can be read'],
    [['tail', '--token-file', '/dev/null'], '--token-file takes a bearer token'],
    [['tail', '--ca-file', '/nonexistent'], '--ca-file takes a file that can be read'],
    [['tail', '--ca-file', '/dev/null'], '--ca-file takes a PEM file'],
    [['tail', '--port', '99999'], '--port takes a port from 1 to 65535'],
    [['tail', '--ip', '10.0.0.300'], '--ip takes an IP address'],
    [['tail', '--from-pod', ''], '--from-pod takes'],
    [['tail', '--verdict', 'eaten'], '--verdict takes'],
    [['tail', '--protocol', 'xyz'], '--protocol takes'],
    [['tail', '--tcp-flags', 'syn,nix'], '--tcp-flags takes'],
    [['tail', '--label', '!!'], '--label takes'],
    [['tail', '--not'], '--not turns round the filter that follows it'],
    [['tail', '--port', '80', '--not'], '--not turns round the filter that follows it'],
    [['status', '-o', 'compact'], '--output takes table, json'],
    [['status', '--bogus'], 'vethflow status has no flag "--bogus"'],
    [['gateway'], 'takes at least one --agent URL'],
    [['gateway', '--agent', 'http//x y'], '--agent takes a URL'],
    [['gateway', '--agent', 'ws://a', '--listen', ':4280'], '--listen [::]:4280 is open to other machines'],
    [['gateway', '--discover', 'x'], '--discover takes SERVICE.NAMESPACE such as vethflow.kube-system'],
    [['gateway', '--agent', 'ws://a', '--agent-cert', 'x'], '--agent-cert and --agent-key go together'],
    [['agent', '--max-connections', '1'], '--max-connections takes a whole number'],
    [['detach', '--all'], 'vethflow detach has no flag "--all"'],
  ])('%j', async (argv, message) => {
    const { code, stdout, stderr } = await run(argv)
    expect(stderr).toContain(message)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(stderr).not.toMatch(/\n\s+at |node:/)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  })
})

describe('help and version', () => {
  const commands = ['agent', 'tail', 'gateway', 'status', 'detach']

  test('list what there is and nothing else', async () => {
    const { code, stdout, stderr } = await run(['--help'])
    expect(code).toBe(0)
    expect(stderr).toBe('')
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'))
    expect(stdout).not.toMatch(/^ {2}(top|why) /m)
  })

  test.each(commands)('%s --help', async (command) => {
    const { code, stdout } = await run([command, '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain(`Usage: vethflow ${command}`)
    expect(stdout).not.toMatch(/--(pin|nats|input-file|write)\b/)
    expect(stdout.split('\n').every((line) => line.length <= 120)).toBe(true)
  })

  test.each([['--version'], ['tail', '--version'], ['agent', '--version']])('%s %s', async (...argv) => {
    const { code, stdout } = await run(argv)
    expect(code).toBe(0)
    expect(stdout).toMatch(/^vethflow \d+\.\d+\.\d+\n$/)
  })
})

test('nobody listens: exit code 69 and one line', async () => {
  // Port 1 (tcpmux) is nobody's on a machine of today; the answer is a refusal at once.
  for (const argv of [
    ['tail', '--server', '127.0.0.1:1'],
    ['tail', '--server', '127.0.0.1:1', '--no-reconnect'],
    ['status', '--server', '127.0.0.1:1'],
  ]) {
    const { code, stderr } = await run(argv)
    expect(stderr).toMatch(/UNREACHABLE: .*127\.0\.0\.1:1.*refused/i)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(code).toBe(69)
  }
})

test.runIf(process.getuid?.() === 0)(
  'detach tells what it removed, in a namespace where there is nothing',
  async () => {
    const { code, stdout, stderr } = await shell('unshare --net bash -c "vethflow detach"')
    expect(stderr).toBe('')
    expect(stdout).toBe('0 programs removed\n')
    expect(code).toBe(0)
  },
)
