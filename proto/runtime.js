// The protobufjs runtime as the generated code needs it: 64-bit integers are plain numbers. It has to be configured
// before the generated module is evaluated (it reads util.Long for its defaults), hence a module of its own that the
// generated one imports. Runs in browsers as well.

import protobuf from 'protobufjs/minimal.js'

protobuf.util.Long = null
protobuf.configure()

export default protobuf
