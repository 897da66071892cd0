// Who owns which namespaces, so that nothing stays behind: removal by name prefix, on the way out of the process, and
// of what dead processes left. May touch only namespaces whose names this library made, and the processes in them.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { runNow } from './run.js'

const REGISTRY = '/run/vethflow-testbed'
const NETNS = '/run/netns'
const ETC_NETNS = '/etc/netns'

/** Prefixes of this process that are still there. */
const live = new Set<string>()
let guarded = false

/** Start time of a process in clock ticks since boot (proc(5), stat field 22), which tells a recycled pid; '' if gone. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/**
 * Claims a prefix `vf<pid>-<name>_`, made unique, for this process: every namespace of the bed begins with it. The
 * returned directory is the bed's own.
 */
export function claim(name: string): { prefix: string; directory: string } {
  if (!/^[a-z0-9][a-z0-9-]{0,30}$/.test(name)) throw new Error(`${name} is no name for a testbed`)
  guard()
  mkdirSync(REGISTRY, { recursive: true })
  for (let attempt = 0; ; attempt++) {
    const prefix = `vf${process.pid}-${name}${attempt === 0 ? '' : `.${attempt}`}_`
    if (live.has(prefix)) continue
    remove(prefix) // what an earlier process with this pid may have left
    const directory = `${REGISTRY}/${prefix}bed`
    mkdirSync(directory)
    writeFileSync(`${directory}/owner`, startOf(process.pid))
    live.add(prefix)
    return { prefix, directory }
  }
}

/** Removes everything under a prefix: processes in its namespaces, the namespaces, their files. Blocks; never throws. */
export function remove(prefix: string): void {
  const mine = (name: string) => name.startsWith(prefix)
  const namespaces = names(NETNS).filter(mine)
  if (namespaces.length > 0) {
    killInside(namespaces)
    runNow(['ip', '-force', '-batch', '-'], namespaces.map((name) => `netns del ${name}\n`).join(''))
  }
  for (const directory of [ETC_NETNS, REGISTRY]) {
    for (const name of names(directory).filter(mine)) {
      rmSync(`${directory}/${name}`, { recursive: true, force: true })
    }
  }
  live.delete(prefix)
}

/** Kills every process that lives in one of the namespaces, and waits up to 2 s until they are gone. */
export function killInside(namespaces: readonly string[]): void {
  const inodes = new Set<string>()
  for (const name of namespaces) {
    try {
      inodes.add(`net:[${statSync(`${NETNS}/${name}`).ino}]`)
    } catch {
      // Gone meanwhile.
    }
  }
  const deadline = Date.now() + 2_000
  for (;;) {
    const pids = names('/proc').filter((entry) => {
      if (!/^\d+$/.test(entry) || Number(entry) === process.pid) return false
      try {
        return inodes.has(readlinkSync(`/proc/${entry}/ns/net`))
      } catch {
        return false
      }
    })
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL')
      } catch {
        // Gone meanwhile.
      }
    }
    if (pids.length === 0 || Date.now() > deadline) return
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  }
}

/** Removes what processes that are no more left behind. Returns the prefixes. */
export function sweepStale(): string[] {
  const prefixes = new Set<string>()
  for (const name of [...names(REGISTRY), ...names(NETNS), ...names(ETC_NETNS)]) {
    const match = /^(vf(\d+)-)([a-z0-9.-]+_)/.exec(name)
    if (match === null || Number(match[2]) === process.pid) continue
    const start = startOf(Number(match[2]))
    if (start === '') prefixes.add(match[1] ?? '')
    else if (ownerOf(name) !== undefined && ownerOf(name) !== start) prefixes.add(`${match[1]}${match[3]}`)
  }
  for (const prefix of prefixes) remove(prefix)
  return [...prefixes]
}

/** The start time written for a bed, given its registry entry; undefined for other names and while it is being made. */
function ownerOf(entry: string): string | undefined {
  try {
    return readFileSync(`${REGISTRY}/${entry}/owner`, 'latin1') || undefined
  } catch {
    return undefined
  }
}

/** On the way out of this process, however it ends short of SIGKILL, what it still owns is removed. */
function guard(): void {
  if (guarded) return
  guarded = true
  sweepStale()
  const heir = startHeir()
  process.on('exit', () => {
    removeAll()
    heir.kill('SIGKILL')
  })
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const handler = () => {
      // Whoever else listens decides how the process ends; its exit comes through the handler above.
      if (process.listenerCount(name) > 1) return
      process.off(name, handler)
      removeAll()
      process.kill(process.pid, name)
    }
    process.on(name, handler)
  }
}

/** A shell that waits for this process's end and removes what it left, for the one end that leaves no time: SIGKILL. */
function startHeir(): ChildProcess {
  const script = `
    while read -r line; do :; done
    for path in ${NETNS}/$0*; do
      [ -e "$path" ] || continue
      name=\${path##*/}
      for pid in $(ip netns pids "$name"); do kill -9 "$pid"; done
      ip netns del "$name"
    done
    rm -rf ${ETC_NETNS}/$0* ${REGISTRY}/$0*`
  const heir = spawn('sh', ['-c', script, `vf${process.pid}-`], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  heir.on('error', () => undefined)
  heir.unref()
  const { stdin } = heir
  if (stdin !== null && 'unref' in stdin && typeof stdin.unref === 'function') stdin.unref()
  return heir
}

function removeAll(): void {
  for (const prefix of [...live]) remove(prefix)
}
