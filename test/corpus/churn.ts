// A service whose backend changes a hundred times a second, in the node's rules and in what the agent reads, while a client
// goes on connecting to it. The kernel's conntrack says who answered each connection; so must the records.

import { renameSync, writeFileSync } from 'node:fs'
import { Stage } from '../../ui-stream/protocol/messages.js'
import { RunningAgent } from '../e2e/agent.js'
import { endpoint, type Pod, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'

const VIP = '10.96.9.9'
const BACKENDS = 5
const CHANGES_A_SECOND = 100
const CONNECTIONS_A_SECOND = 150

export interface ChurnResult {
  readonly connections: number
  /** Changes of the rules and of the names' source. */
  readonly changes: { readonly rules: number; readonly names: number }
  /** Backends that answered. */
  readonly backends: number
  /** Connections told otherwise than conntrack has them. */
  readonly wrong: readonly string[]
}

/** Runs it for so many seconds with agents that have these flags. */
export async function churn(seconds: number, flags: readonly string[] = []): Promise<ChurnResult> {
  const bed = await Testbed.create('churn')
  try {
    const node = await bed.node('n1')
    const client = await node.pod({ name: 'client' })
    const backends = await Promise.all(
      Array.from({ length: BACKENDS }, (_, i) => node.pod({ name: `backend-${i}` })),
    )
    await Promise.all(backends.map((pod) => tcpServer(pod, 8080)))
    await node.nft(
      'table ip churn {\nchain pick { }\nchain nat { type nat hook prerouting priority dstnat; ' +
        `ip daddr ${VIP} tcp dport 80 jump pick; }\n}\n${pick(backends[0]!)}\n`,
    )
    const names = (current: Pod): void => {
      // services are objects here, their rules are the test's own
      const service = {
        namespace: 'default',
        name: 'churning',
        clusterIP: VIP,
        ports: [{ name: 'main', port: 80, targetPort: 8080 }],
        backends: [current],
      }
      const file = `${bed.directory}/manifests/cluster.json`
      writeFileSync(
        `${file}.new`,
        JSON.stringify({ apiVersion: 'v1', kind: 'List', items: bed.manifests([service]) }),
      )
      renameSync(`${file}.new`, file)
    }
    const manifests = bed.writeManifests()
    names(backends[0]!)
    const agent = await RunningAgent.start(bed, node, 'n1', { manifests, flags })
    try {
      const rounds = seconds * CHANGES_A_SECOND
      const lines = backends.map((pod) => `${pick(pod)}\n`).join('')
      const rules = await node.start(
        [
          'perl',
          '-e',
          `$| = 1; my @lines = <STDIN>; open my $nft, '|-', 'nft', '-i' or die $!; select $nft; $| = 1;
         for my $i (1..${rounds}) { print $nft $lines[$i % @lines]; select(undef, undef, undef, ${1 / CHANGES_A_SECOND}) }
         close $nft; print STDOUT "changed\n"`,
        ],
        { input: lines },
      )
      let changed = 0
      const timer = setInterval(() => names(backends[++changed % BACKENDS]!), 1000 / CHANGES_A_SECOND)
      const report = await tcpConnect(client, endpoint(VIP, 80), {
        count: seconds * CONNECTIONS_A_SECOND,
        rate: CONNECTIONS_A_SECOND,
        bytesOut: 500,
        bytesIn: 500,
        ports: true,
        seconds: seconds * 4 + 20,
      })
      await rules.done(seconds * 4000 + 20_000)
      clearInterval(timer)
      if (report.ok !== report.connections)
        throw new Error(`the churn broke connections: ${JSON.stringify({ ...report, ports: undefined })}`)
      const answered = new Map<number, string>()
      for (const line of await node.conntrack()) {
        const match = new RegExp(`src=${client.ip} dst=${VIP} sport=(\\d+) dport=80 src=(\\S+) `).exec(line)
        if (match !== null) answered.set(Number(match[1]), match[2] ?? '')
      }
      await agent.close()
      return {
        connections: report.connections,
        changes: { rules: rounds, names: changed },
        backends: new Set(answered.values()).size,
        wrong: compare(agent, client, backends, report.ports ?? [], answered),
      }
    } finally {
      await agent.kill()
    }
  } finally {
    await bed.close()
  }
}

function pick({ ip }: Pod): string {
  return `flush chain ip churn pick; add rule ip churn pick meta l4proto tcp dnat to ${ip}:8080`
}

function compare(
  agent: RunningAgent,
  client: Pod,
  backends: readonly Pod[],
  ports: readonly number[],
  answered: ReadonlyMap<number, string>,
): string[] {
  const losses = agent.lost.filter((loss) => loss.stage !== Stage.STAGE_UNATTACHED)
  const wrong: string[] = losses.map((loss) => `lost ${JSON.stringify(loss)}`)
  // every record, not the last one of a flow alone: nobody may have read a wrong backend for a moment
  const told = new Map<number, Set<string>>()
  for (const { source, destination, service, protocol } of agent.flows) {
    if (protocol !== 'TCP' || source?.ip !== client.ip) continue
    const records = told.get(source.port ?? 0) ?? new Set()
    told.set(source.port ?? 0, records.add(`${service?.name} ${destination?.ip} ${destination?.pod}`))
  }
  for (const port of ports) {
    const backend = answered.get(port)
    const pod = backends.find(({ ip }) => ip === backend)
    const should = `churning ${backend} ${pod?.name}`
    const is = [...(told.get(port) ?? [])]
    if (pod === undefined) wrong.push(`${port}: conntrack has forgotten it`)
    else if (is.length !== 1 || is[0] !== should)
      wrong.push(`${port}: told as ${is.join(', ') || 'nothing'}, not ${should}`)
  }
  return wrong
}
