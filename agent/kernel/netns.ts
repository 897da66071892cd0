// Enters another network namespace for the time of one synchronous call (setns(2), CAP_SYS_ADMIN) and comes back.

import { closeSync, openSync } from 'node:fs'
import { VethflowError } from '../errors.js'
import { errno, kernelError } from './ffi.js'
import { CLONE_NEWNET, libc } from './libc.js'

/**
 * Runs `enter` on this thread inside the network namespace that `path` stands for (/run/netns/NAME, /proc/PID/ns/net).
 * `enter` must not be asynchronous. Sockets opened and links made inside go on belonging to that namespace. When the way
 * back fails the process ends: everything after would act on the wrong namespace.
 */
export function withNetns<T>(path: string, enter: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r')
  try {
    let there: number
    try {
      there = openSync(path, 'r')
    } catch (cause) {
      throw new VethflowError('NETNS_MISSING', `the network namespace ${path} cannot be opened`, { cause })
    }
    try {
      if (libc().setns(there, CLONE_NEWNET) !== 0)
        throw kernelError('NETNS_ENTER', `enter the network namespace ${path}`, errno(), {
          needs: ['CAP_SYS_ADMIN'],
        })
    } finally {
      closeSync(there)
    }
    try {
      return enter()
    } finally {
      if (libc().setns(home, CLONE_NEWNET) !== 0) {
        console.error('cannot return to the own network namespace')
        process.exit(1)
      }
    }
  } finally {
    closeSync(home)
  }
}
