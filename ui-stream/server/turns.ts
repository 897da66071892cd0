// Work for clients that is done in small slices: going through history, evaluating expressions. Everybody gets a slice in
// turn, and between slices the event loop goes on with what cannot wait (capture, publishing, sockets). Of the time at
// most about half goes to such work, however many clients ask for it.

/** Does one slice of its work, a millisecond or so, and asks for another turn if there is more. */
export interface Turn {
  turn(): void
}

/** Slices are done for so long at a time, ms. */
const RUN_MS = 4

export class Turns {
  readonly #waiting = new Set<Turn>()
  #scheduled = false

  /** Asks for a turn, behind everybody who has asked before. Asking twice is asking once. */
  add(turn: Turn): void {
    this.#waiting.add(turn)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#run)
  }

  /** Takes back what `add` has asked for. */
  remove(turn: Turn): void {
    this.#waiting.delete(turn)
  }

  readonly #run = (): void => {
    const began = performance.now()
    let spent = 0
    for (const turn of this.#waiting) {
      this.#waiting.delete(turn)
      turn.turn()
      spent = performance.now() - began
      if (spent >= RUN_MS) break
    }
    this.#scheduled = this.#waiting.size > 0
    if (!this.#scheduled) return
    if (spent >= RUN_MS) setTimeout(this.#run, spent)
    else setImmediate(this.#run)
  }
}
