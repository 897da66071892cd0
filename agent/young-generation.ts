// Keeps V8's young generation at its first size. Imported before all else by the agent's main, whose imports alone would
// let it grow.
//
// V8 doubles the young generation as long as objects survive in it, up to 2 x 16 MiB, nearly all of which is then
// resident. The agent makes no object per record, so a small one is as fast: measured, see docs/cost.md. Growing is all
// that can still be changed once the process runs; --max-semi-space-size would have to stand before the script's name.

import { setFlagsFromString } from 'node:v8'

setFlagsFromString('--semi-space-growth-factor=1')
