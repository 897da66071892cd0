// A TCP proxy on loopback that can be cut: what stands between a client and a server in the field.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #target: { host: string; port: number }
  #refuse = false

  private constructor(target: string) {
    this.#target = split(target)
    this.#server = createServer((near) => {
      if (this.#refuse) {
        near.resetAndDestroy()
        return
      }
      const far = connect(this.#target)
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one)
        one.on('error', () => other.destroy())
        one.on('close', () => {
          this.#sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
  }

  /** Listens on a free port and passes everything on to `ADDR:PORT`. */
  static async open(target: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Resets every connection, and those that come until `mend`. */
  cut(): void {
    this.#refuse = true
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  mend(target?: string): void {
    if (target !== undefined) this.#target = split(target)
    this.#refuse = false
  }

  async close(): Promise<void> {
    this.cut()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }
}

function split(target: string): { host: string; port: number } {
  const colon = target.lastIndexOf(':')
  return { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) }
}
