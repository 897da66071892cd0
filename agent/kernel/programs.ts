// The programs of one network namespace, loaded role by role when the first interface asks for them: verifying takes
// seconds on slow machines. All share the maps of the first object that was loaded.

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VethflowError } from '../errors.js'
import type { Program } from './attach.js'
import type { Features } from './features.js'
import { BpfObject, type MapName } from './object.js'
import type { Role } from './roles.js'
import { programId } from './tcx.js'

export interface RolePrograms {
  readonly ingress: Program
  readonly egress: Program
}

export interface ProgramsOptions {
  /** Folder of flow.bpf.o, flow-5.12.bpf.o and flow-5.10.bpf.o. */
  readonly objectDir: string
  readonly features: Features
  /** 0 for the agent's own namespace. */
  readonly netns: number
  readonly sizes: Readonly<Partial<Record<MapName, number>>>
  /** Copy DNS messages to the ring `dns`. */
  readonly dns?: boolean
  /** Whose maps to share; without it the first load makes them. */
  readonly shareMapsOf?: BpfObject
}

/** Owns the objects it loads; close it after everything is detached. */
export class Programs {
  private readonly options: ProgramsOptions
  private readonly objects: BpfObject[] = []
  private readonly roles = new Map<Role, RolePrograms>()

  constructor(options: ProgramsOptions) {
    this.options = options
  }

  /** The object whose maps all use. Call role() first. */
  get maps(): BpfObject {
    const object = this.options.shareMapsOf ?? this.objects[0]
    if (object === undefined) throw new Error('no program has been loaded yet')
    return object
  }

  /**
   * Path of the object file in use. flow-5.12.bpf.o is flow.bpf.o without the programs that read conntrack: where the
   * kernel has no bpf_cast_to_kern_ctx, libbpf needs CAP_SYS_ADMIN only to find that out.
   */
  get path(): string {
    return this.object(this.options.features.enabled('conntrack'))
  }

  /** The programs of a role, loaded now if they are not yet. Throws what BpfObject.load throws. */
  role(role: Role): RolePrograms {
    const known = this.roles.get(role)
    if (known !== undefined) return known
    const programs = this.load(role)
    this.roles.set(role, programs)
    return programs
  }

  /** Idempotent. */
  close(): void {
    // The first one last: it made the maps.
    for (const object of this.objects.splice(0).reverse()) object.close()
    this.roles.clear()
  }

  /** With conntrack if the kernel takes it; what it refuses once is not tried again. */
  private load(role: Role): RolePrograms {
    const { features } = this.options
    if (!features.enabled('conntrack')) return this.loadNamed(role, `${role}_egress`)
    try {
      return this.loadNamed(role, `${role}_egress_ct`)
    } catch (error) {
      if (!isRefusedProgram(error)) throw error
      const without = this.loadNamed(role, `${role}_egress`)
      features.set('conntrack', false, error.message)
      return without
    }
  }

  private object(conntrack: boolean): string {
    const { features, objectDir } = this.options
    if (!features.enabled('atomic_fetch')) return join(objectDir, 'flow-5.10.bpf.o')
    return join(objectDir, conntrack ? 'flow.bpf.o' : 'flow-5.12.bpf.o')
  }

  private loadNamed(role: Role, egress: string): RolePrograms {
    const share = this.options.shareMapsOf ?? this.objects[0]
    const object = BpfObject.load({
      path: this.object(egress.endsWith('_ct')),
      programs: [`${role}_ingress`, egress],
      sizes: this.options.sizes,
      netnsNumber: this.options.netns,
      withoutBtf: !this.options.features.enabled('btf'),
      dns: this.options.dns === true,
      ...(share === undefined ? {} : { shareMapsOf: share }),
    })
    try {
      const programs = {
        ingress: describe(object, `${role}_ingress`),
        egress: describe(object, egress),
      }
      this.objects.push(object)
      return programs
    } catch (error) {
      object.close()
      throw error
    }
  }
}

function describe(object: BpfObject, name: string): Program {
  const fd = object.programFd(name)
  if (fd === undefined) throw new Error(`program ${name} was not loaded`)
  return { name, fd, id: programId(fd) }
}

/** The kernel did not take a program; a missing file or permission is something else. */
function isRefusedProgram(error: unknown): error is VethflowError {
  return error instanceof VethflowError && (error.code === 'VERIFIER' || error.code === 'BPF_LOAD')
}

/** The folder bpf/prebuilt that came with this code, built or not. */
export function prebuiltDir(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  for (;;) {
    const candidate = join(folder, 'bpf', 'prebuilt')
    if (existsSync(candidate)) return candidate
    const parent = dirname(folder)
    if (parent === folder) return candidate
    folder = parent
  }
}
