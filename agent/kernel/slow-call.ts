// Kernel calls that wait. A program comes onto a tcx hook, and leaves it, with an RCU grace period: 5 to 20 ms each time.
// What needs them is written once, as steps that yield each such call, and run in one of two ways: now, on this thread,
// or aside, on a thread of libuv's, while the event loop goes on. It does not know what the calls do.

/** A call that waits. Its result is what the kernel gave: a descriptor or 0, or a negative errno. */
export interface SlowCall {
  /** Makes the call here and waits for it. */
  now(): number
  /** Makes the call on another thread. Whatever it is given (descriptors, memory) must live until it has ended. */
  aside(): Promise<number>
}

/** Work that yields its slow calls and is given their results. It may find the world changed after each. */
export type SlowSteps<T> = Generator<SlowCall, T, number>

/** Runs all steps before it returns. Throws what they throw. */
export function runNow<T>(steps: SlowSteps<T>): T {
  for (let step = steps.next(); ; ) {
    if (step.done === true) return step.value
    step = steps.next(step.value.now())
  }
}

/** Runs the steps on this thread and their slow calls aside. Rejects with what they throw. */
export async function runAside<T>(steps: SlowSteps<T>): Promise<T> {
  for (let step = steps.next(); ; ) {
    if (step.done === true) return step.value
    step = steps.next(await step.value.aside())
  }
}
