// A vitest reporter that counts for `make test`: writes "passed failed" to the file named by VETHFLOW_TEST_RESULT, and
// names what was skipped, with its reason. With CI=true a skipped test has failed.

import { writeFileSync } from 'node:fs'
import type { Reporter, TestModule } from 'vitest/node'

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0
    let failed = unhandled.length
    const skipped: string[] = []
    for (const module of modules) {
      let inModule = 0
      for (const test of module.children.allTests()) {
        inModule++
        const result = test.result()
        if (result.state === 'passed') passed++
        else if (result.state === 'failed') failed++
        else {
          const reason = result.state === 'skipped' ? result.note : undefined
          skipped.push(`${module.relativeModuleId} > ${test.fullName}: ${reason ?? 'no reason given'}`)
        }
      }
      // A hook that failed takes its tests with it.
      for (const suite of module.children.allSuites()) failed += suite.errors().length > 0 ? 1 : 0
      // A file that could not be loaded, or a hook outside of tests that failed.
      if (module.state() === 'failed' && (inModule === 0 || module.errors().length > 0)) failed++
    }
    const ci = process.env.CI === 'true'
    for (const line of skipped)
      console.log(`${ci ? 'FAILED, it may not be skipped here' : 'skipped'}: ${line}`)
    if (ci) failed += skipped.length
    if (failed > 0) process.exitCode = 1
    const file = process.env.VETHFLOW_TEST_RESULT
    if (file !== undefined) writeFileSync(file, `${passed} ${failed}\n`)
  }
}
