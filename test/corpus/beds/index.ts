// All beds of the corpus.

import type { CorpusBed } from '../bed.js'
import { besideEbpf } from './beside-ebpf.js'
import { overlay } from './overlay.js'
import { recorded } from './recorded.js'
import { routed } from './routed.js'

export const beds: readonly CorpusBed[] = [recorded, routed, overlay, besideEbpf]
