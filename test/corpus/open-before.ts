// Connections that are open before the agents start and go on after: what their sockets have counted by then is taken
// off, so that the rest is what an agent must tell.

import { endpoint, type HeldConnection, tcpHold } from '../testbed/index.js'
import type { Built } from './bed.js'
import type { Row } from './row.js'
import type { Ports } from './run.js'
import type { Made } from './talk.js'
import { ends } from './talk.js'

/** Made before the agents; goOn() when they capture. Close it. */
export class OpenBefore {
  readonly #built: Built
  readonly #held: { row: Row; port: number; connection: HeldConnection }[] = []

  private constructor(built: Built) {
    this.#built = built
  }

  static async start(built: Built, rows: readonly Row[], ports: Ports): Promise<OpenBefore> {
    const all = new OpenBefore(built)
    for (const row of rows) {
      const { from, to, port: toPort = 0 } = row.talk
      const where = built.places[from]
      if (where === undefined) throw new Error(`${row.name}: the bed has no ${from}`)
      const port = ports.row()
      const connection = await tcpHold(where, endpoint(to, toPort), {
        from: row.talk.fromIp ?? built.address(from, row.family),
        sourcePort: port,
        bytesOut: 30_000,
        bytesIn: 50_000,
      })
      all.#held.push({ row, port, connection })
    }
    return all
  }

  /** Lets them finish; with each what its socket has sent and got since start(). */
  async goOn(): Promise<[Row, Made][]> {
    return Promise.all(
      this.#held.map(async ({ row, port, connection }): Promise<[Row, Made]> => {
        const rest = await connection.finish()
        const clientIp = row.talk.fromIp ?? this.#built.address(row.talk.from, row.family)
        return [
          row,
          {
            ...(await ends(this.#built, row, 'tcp', clientIp, port)),
            protocol: 'TCP',
            forward: rest.segmentsOut,
            reverse: rest.segmentsIn,
            octets: undefined,
          },
        ]
      }),
    )
  }

  async close(): Promise<void> {
    await Promise.all(this.#held.map(({ connection }) => connection.task.stop('SIGKILL')))
  }
}
