// Identity from files: reads a manifest file or a directory of them, and again whenever something there changes.
//
// A change is noticed through inotify, and by looking every other second where that says nothing (some network file
// systems, and the symlink that a ConfigMap volume swaps one level down). A set that cannot be read changes nothing: the
// names of before stay, and the log says so once.

import { type FSWatcher, watch } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

import { describeError, VethflowError } from '../errors.js'
import { type ManifestObject, parseManifest } from './manifest-file.js'
import type { ResourceState } from './names.js'
import { type IdentityLog, isKind, KINDS, type Kind, type ObjectSink, type ObjectSource } from './source.js'

const MAX_FILES = 1000
const MAX_BYTES = 256 * 2 ** 20
const DEBOUNCE_MS = 25
/** Changes without end do not keep it waiting for longer. */
const LONGEST_MS = 200

export interface ManifestOptions {
  readonly log: IdentityLog
  /** How often to look without being told, in ms. */
  readonly pollMs?: number
}

interface Found {
  readonly path: string
  readonly size: number
  /** Changes when the file does. */
  readonly mark: string
}

const kinds = Object.keys(KINDS).filter(isKind)

export class ManifestSource implements ObjectSource {
  synced = false
  readonly #path: string
  readonly #sink: ObjectSink
  readonly #log: IdentityLog
  readonly #poll: NodeJS.Timeout
  #watcher: FSWatcher | undefined
  #debounce: NodeJS.Timeout | undefined
  /** When the first of the changes that wait came. */
  #changedAt = 0
  #mark: string | undefined
  #reading: Promise<void> | undefined
  #again = false
  #closed = false
  #readAt = 0
  #reloads = 0
  #error: string | undefined

  private constructor(path: string, sink: ObjectSink, options: ManifestOptions) {
    this.#path = path
    this.#sink = sink
    this.#log = options.log
    this.#poll = setInterval(() => this.#look(), options.pollMs ?? 2000)
    this.#poll.unref()
  }

  /**
   * Reads `path` and goes on following it; the caller closes.
   *
   * @throws VethflowError MANIFEST_INVALID when it cannot be read now.
   */
  static async open(path: string, sink: ObjectSink, options: ManifestOptions): Promise<ManifestSource> {
    const source = new ManifestSource(path, sink, options)
    try {
      // Before the first reading, so that no change falls between the two.
      await source.#follow()
      await source.#read()
    } catch (error) {
      await source.close()
      throw error
    }
    return source
  }

  resources(): ResourceState[] {
    return kinds.map((kind) => ({
      name: KINDS[kind],
      synced: this.synced,
      objects: this.#sink.count(kind),
      ageMs: Math.round(performance.now() - this.#readAt),
      restarts: this.#reloads,
      ...(this.#error === undefined ? {} : { lastError: this.#error }),
    }))
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#poll)
    clearTimeout(this.#debounce)
    this.#watcher?.close()
    await this.#reading?.catch(() => undefined)
  }

  async #follow(): Promise<void> {
    const isDirectory = await stat(this.#path).then(
      (found) => found.isDirectory(),
      () => false,
    )
    try {
      // A file is watched through its directory, since editors put a new one in its place.
      this.#watcher = watch(isDirectory ? this.#path : dirname(this.#path), { persistent: false }, () => {
        const now = performance.now()
        if (this.#debounce === undefined) this.#changedAt = now
        clearTimeout(this.#debounce)
        this.#debounce = setTimeout(
          () => {
            this.#debounce = undefined
            this.#look()
          },
          Math.max(0, Math.min(DEBOUNCE_MS, this.#changedAt + LONGEST_MS - now)),
        )
        this.#debounce.unref()
      })
      this.#watcher.on('error', () => this.#watcher?.close())
    } catch {
      // No inotify (too many watches, or the path is not there yet): looking now and then is enough.
    }
  }

  /** Reads again when something has changed. Never two at a time, never an error: that is said in log and status. */
  #look(): void {
    if (this.#closed) return
    if (this.#reading !== undefined) {
      this.#again = true
      return
    }
    this.#reading = this.#read()
      .then((changed) => {
        if (changed) this.#log.info(`names read again from ${this.#path}`)
      })
      .catch((error: unknown) => {
        const text = describeError(error)
        if (text !== this.#error) this.#log.warn(`keeping the names of before: ${text}`)
        this.#error = text
      })
      .finally(() => {
        this.#reading = undefined
        if (!this.#again) return
        this.#again = false
        this.#look()
      })
  }

  /** True when there was something new. */
  async #read(): Promise<boolean> {
    const files = await findFiles(this.#path)
    const mark = files.map((file) => `${file.path} ${file.mark}`).join('\n')
    if (mark === this.#mark) {
      if (this.#error === undefined) this.#readAt = performance.now()
      return false
    }
    // Remembered whatever comes of it, so that the same broken file is not read over and over.
    this.#mark = mark
    const objects: ManifestObject[] = []
    let bytes = 0
    for (const file of files) {
      bytes += file.size
      if (bytes > MAX_BYTES) {
        throw new VethflowError(
          'MANIFEST_INVALID',
          `${this.#path}: more than ${MAX_BYTES >> 20} MiB of manifests`,
        )
      }
      objects.push(...parseManifest(file.path, await readText(file.path)))
    }
    if (this.#closed) return false
    this.#apply(objects)
    if (this.synced) this.#reloads++
    this.synced = true
    this.#readAt = performance.now()
    this.#error = undefined
    return true
  }

  #apply(objects: readonly ManifestObject[]): void {
    for (const kind of kinds) this.#sink.begin(kind)
    for (const { kind, object } of objects) if (isKind(kind)) this.#sink.upsert(kind satisfies Kind, object)
    for (const kind of kinds) this.#sink.commit(kind)
  }
}

function unreadable(path: string, cause: unknown): VethflowError {
  return new VethflowError('MANIFEST_INVALID', `cannot read manifests from ${path}`, { cause })
}

/** The files to read, in order of their names. Hidden ones (a ConfigMap volume's `..data`) are no manifests. */
async function findFiles(path: string): Promise<Found[]> {
  try {
    const top = await stat(path)
    if (!top.isDirectory()) return [await describeFile(path)]
    const names = (await readdir(path))
      .filter((name) => /^[^.].*\.(json|ya?ml)$/i.test(basename(name)))
      .sort()
    if (names.length > MAX_FILES) {
      throw new VethflowError('MANIFEST_INVALID', `${path}: more than ${MAX_FILES} manifests`)
    }
    return await Promise.all(names.map((name) => describeFile(join(path, name))))
  } catch (error) {
    throw error instanceof VethflowError ? error : unreadable(path, error)
  }
}

async function describeFile(path: string): Promise<Found> {
  const found = await stat(path, { bigint: true })
  if (!found.isFile()) throw unreadable(path, new Error('it is not a file'))
  return {
    path,
    size: Number(found.size),
    mark: `${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`,
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw unreadable(path, error)
  }
}
