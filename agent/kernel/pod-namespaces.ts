// Where the network namespaces of this node's pods are to be entered: those in which the other ends of our interfaces lie.
// Looks at the names that container runtimes give them (/run/netns) and, for what is not there, at processes. It keeps no
// namespace open: one that is held would outlive its pod.

import { closeSync, openSync, readdirSync, statSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { attribute, attributes, NetlinkSocket } from './netlink.js'

/** linux/rtnetlink.h, linux/net_namespace.h */
const RTM_NEWNSID = 88
const RTM_GETNSID = 90
const NETNSA_NSID = 1
const NETNSA_FD = 3
const RTGENMSG_SIZE = 4

/** Where runtimes name namespaces (containerd, CRI-O: cni-…; docker has a place of its own). */
const NAMED = ['/run/netns', '/run/docker/netns'] as const
/** Processes looked at between two looks at the event loop. */
const SLICE = 64

export interface FoundNamespace {
  /** To be opened by whoever enters it; good as long as the name or the process is there. */
  readonly path: string
  readonly inode: number
  /** Our number for it: that of Link.linkNetnsid. */
  readonly nsid: number
}

/** Holds one netlink socket of the own network namespace. Close it. */
export class PodNamespaces {
  /** Namespaces that could not be looked at for want of a permission, in the last search. */
  refused = 0
  readonly #socket: NetlinkSocket
  readonly #ownInode: number

  constructor() {
    this.#ownInode = statSync('/proc/thread-self/ns/net').ino
    this.#socket = NetlinkSocket.open()
  }

  /** Namespaces with a name whose number is one of `wanted`. Quick: a handful of system calls for each that is new. */
  named(wanted: ReadonlySet<number>): FoundNamespace[] {
    const found: FoundNamespace[] = []
    for (const directory of NAMED) {
      let names: string[]
      try {
        names = readdirSync(directory)
      } catch {
        continue
      }
      for (const name of names) this.#consider(`${directory}/${name}`, wanted, found)
    }
    return found
  }

  /** The same by way of all processes, the event loop's turn in between. */
  async ofProcesses(wanted: ReadonlySet<number>): Promise<FoundNamespace[]> {
    this.refused = 0
    const found: FoundNamespace[] = []
    const inodes = new Set<number>()
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
    for (let at = 0; at < pids.length; at += SLICE)
      await Promise.all(
        pids.slice(at, at + SLICE).map(async (pid) => {
          const path = `/proc/${pid}/ns/net`
          try {
            const { ino } = await stat(path)
            if (inodes.has(ino)) return
            inodes.add(ino)
            this.#consider(path, wanted, found)
          } catch (error) {
            const { code } = error as NodeJS.ErrnoException
            if (code === 'EACCES' || code === 'EPERM') this.refused++
          }
        }),
      )
    return found
  }

  /** Idempotent. */
  close(): void {
    this.#socket.close()
  }

  #consider(path: string, wanted: ReadonlySet<number>, found: FoundNamespace[]): void {
    let fd: number
    try {
      fd = openSync(path, 'r')
    } catch {
      return
    }
    try {
      const inode = statSync(path).ino
      if (inode === this.#ownInode || found.some((other) => other.inode === inode)) return
      const nsid = this.#numberOf(fd)
      if (nsid !== undefined && wanted.has(nsid)) found.push({ path, inode, nsid })
    } catch {
      // Gone meanwhile, or no namespace.
    } finally {
      closeSync(fd)
    }
  }

  /** Our number for a namespace; undefined when it has none, which is when nothing of ours leads there. */
  #numberOf(fd: number): number | undefined {
    const value = Buffer.alloc(4)
    value.writeInt32LE(fd)
    const body = Buffer.concat([Buffer.alloc(RTGENMSG_SIZE), attribute(NETNSA_FD, value)])
    let nsid = -1
    this.#socket.request('ask for the number of a namespace', RTM_GETNSID, 0, body, (type, answer) => {
      if (type !== RTM_NEWNSID) return
      const number = attributes(answer, RTGENMSG_SIZE).get(NETNSA_NSID)
      if (number !== undefined && number.length >= 4) nsid = number.readInt32LE(0)
    })
    return nsid < 0 ? undefined : nsid
  }
}
