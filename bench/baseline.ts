// A process with all that an agent imports, and as many bytes touched as it was told: what the agent's memory is compared
// with. Prints READY and waits for SIGTERM.

import { koffi } from '../agent/kernel/ffi.js'
import { libbpf } from '../agent/kernel/libbpf.js'
import '../agent/main.js'
import '../ui-stream/cli/run.js'

koffi()
libbpf()
const touched = Buffer.alloc(Number(process.argv[2] ?? 0), 1)
setInterval(() => touched.length, 60_000)
process.stdout.write('READY\n')
