// Asks the cluster who somebody is (TokenReview) and what he may see (SubjectAccessReview): whoever may get pods in all
// namespaces sees everything, whoever may get them in some sees the flows that touch those. Answers are kept for seconds,
// and asked again as long as somebody is connected.

import { createHash } from 'node:crypto'
import { describeError, VethflowError } from '../../../agent/errors.js'
import type { Connection } from '../../../agent/identity/kubernetes/connection.js'
import { create, StatusError } from '../../../agent/identity/kubernetes/request.js'
import { type Fields, fields } from '../../../agent/identity/object.js'
import { CallLimit } from './call-limit.js'
import type { Grant } from './grant.js'
import { NamespaceScope } from './namespace-scope.js'
import type { TokenReviewer } from './security.js'

const TOKEN_REVIEW = '/apis/authentication.k8s.io/v1/tokenreviews'
const ACCESS_REVIEW = '/apis/authorization.k8s.io/v1/subjectaccessreviews'
/** Tokens and users that are remembered; those that were asked about longest ago go first. */
const MOST_TOKENS = 1024
const MOST_USERS = 256
/** Questions that are open at once, and that wait. */
const MOST_CALLS = 16
const MOST_WAITING = 512

/** How long answers hold, ms. Shorter in tests. */
export interface ReviewTimes {
  /** A yes, before it is asked again. */
  readonly accepted: number
  /** A no. */
  readonly refused: number
  /** A yes while nobody can be asked: capture goes on without an API server, and so do those who watch it. */
  readonly away: number
}

const TIMES: ReviewTimes = { accepted: 10_000, refused: 10_000, away: 300_000 }

/** Somebody whom the cluster knows, as a review tells of him and is asked about him. */
interface User {
  readonly key: string
  readonly name: string
  /** user, uid, groups and extra of a SubjectAccessReview's spec. */
  readonly subject: object
  readonly scope: NamespaceScope
}

interface Known {
  /** undefined: the token is worth nothing. */
  readonly user: User | undefined
  /** May get pods in all namespaces. */
  readonly wide: boolean
  /** When the cluster said so. */
  readonly atMs: number
}

export interface KubernetesReviewerOptions {
  /** Ours from now on: closed with the reviewer. */
  readonly connection: Connection
  /** One sentence for the log, once for each kind of trouble. */
  readonly warn: (message: string) => void
  readonly times?: ReviewTimes
}

export class KubernetesReviewer implements TokenReviewer {
  readonly #connection: Connection
  readonly #warn: (message: string) => void
  readonly #times: ReviewTimes
  readonly #calls = new CallLimit(MOST_CALLS, MOST_WAITING)
  readonly #closing = new AbortController()
  readonly #tokens = new Map<string, Known>()
  readonly #asking = new Map<string, Promise<Known>>()
  readonly #users = new Map<string, User>()
  #trouble = ''

  constructor({ connection, warn, times = TIMES }: KubernetesReviewerOptions) {
    this.#connection = connection
    this.#warn = warn
    this.#times = times
  }

  /** Rejects with a VethflowError when the cluster cannot be asked. */
  async admit(token: string): Promise<Grant | undefined> {
    const key = keyOf(token)
    const known = this.#fresh(key)
    return this.#grant(key, token, known ?? (await this.#review(key, token)))
  }

  known(token: string): Grant | undefined {
    const key = keyOf(token)
    const known = this.#fresh(key)
    return known === undefined ? undefined : this.#grant(key, token, known)
  }

  close(): void {
    this.#closing.abort()
    this.#connection.close()
  }

  #fresh(key: string): Known | undefined {
    const known = this.#tokens.get(key)
    if (known === undefined) return undefined
    const age = performance.now() - known.atMs
    return age < (known.user === undefined ? this.#times.refused : this.#times.accepted) ? known : undefined
  }

  /** Asks about a token; several who ask at once are one question. */
  #review(key: string, token: string): Promise<Known> {
    let asking = this.#asking.get(key)
    if (asking === undefined) {
      asking = this.#ask(key, token).finally(() => this.#asking.delete(key))
      this.#asking.set(key, asking)
    }
    return asking
  }

  async #ask(key: string, token: string): Promise<Known> {
    const status = await this.#create(TOKEN_REVIEW, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token },
    })
    const user = status.authenticated === true ? this.#user(fields(status.user)) : undefined
    const wide = user !== undefined && (await this.#mayGetPods(user.subject, undefined))
    const known = { user, wide, atMs: performance.now() }
    remember(this.#tokens, key, known, MOST_TOKENS)
    return known
  }

  #grant(key: string, token: string, { user, wide }: Known): Grant | undefined {
    if (user === undefined) return undefined
    const { scope, name } = user
    const { shrunk } = scope
    let provenMs = performance.now()
    const again = async (): Promise<boolean> => {
      try {
        const known = this.#fresh(key) ?? (await this.#review(key, token))
        provenMs = performance.now()
        // Nobody, another user, or one who saw everything and no longer does.
        if (known.user?.key !== user.key || (wide && !known.wide)) return false
        return wide || ((await scope.holds()) && scope.shrunk === shrunk)
      } catch {
        return performance.now() - provenMs < this.#times.away
      }
    }
    return { subject: name, scope: wide ? undefined : scope, holds: again }
  }

  #user(told: Fields): User {
    const name = typeof told.username === 'string' ? told.username : ''
    const subject = { user: name, uid: told.uid, groups: told.groups, extra: told.extra }
    const key = JSON.stringify(subject)
    let user = this.#users.get(key)
    if (user === undefined) {
      const ask = (namespace: string): Promise<boolean> => this.#mayGetPods(subject, namespace)
      user = { key, name, subject, scope: new NamespaceScope(ask, this.#times) }
    }
    remember(this.#users, key, user, MOST_USERS)
    return user
  }

  /** In `namespace`; in all of them when it is undefined. */
  async #mayGetPods(subject: object, namespace: string | undefined): Promise<boolean> {
    const status = await this.#create(ACCESS_REVIEW, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        ...subject,
        resourceAttributes: { verb: 'get', resource: 'pods', ...(namespace !== undefined && { namespace }) },
      },
    })
    return status.allowed === true && status.denied !== true
  }

  async #create(path: string, object: object): Promise<Fields> {
    try {
      const answer = await this.#calls.run(() => create(this.#connection, path, object, this.#closing.signal))
      this.#trouble = ''
      return fields(answer.status)
    } catch (cause) {
      const missing = cause instanceof StatusError && cause.status === 403
      const what = missing
        ? `the right to create ${path.slice(path.lastIndexOf('/') + 1)} is missing`
        : 'the cluster cannot be asked about tokens'
      const trouble = `${what}: ${describeError(cause)}`
      if (trouble !== this.#trouble && !this.#closing.signal.aborted) this.#warn(trouble)
      this.#trouble = trouble
      throw new VethflowError('KUBERNETES_AUTH', what, { cause })
    }
  }
}

/** Tokens themselves are kept only by those who are connected with them. */
function keyOf(token: string): string {
  return createHash('sha256').update(token).digest('base64')
}

/** Sets a key as the newest; the oldest goes when there are too many. */
function remember<T>(map: Map<string, T>, key: string, value: T, most: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size <= most) return
  for (const oldest of map.keys()) {
    map.delete(oldest)
    break
  }
}
