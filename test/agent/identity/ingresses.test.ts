// Which Ingresses lead to a service's port: by port name and number, in their own namespace, and as they change.

import { describe, expect, it } from 'vitest'
import { Cluster } from '../../../agent/identity/cluster.js'

const service = {
  metadata: { namespace: 'shop', name: 'web' },
  spec: {
    clusterIP: '10.96.0.9',
    ports: [
      { name: 'http', port: 80, protocol: 'TCP' },
      { name: 'admin', port: 81, protocol: 'TCP' },
    ],
  },
}

/** An Ingress whose only path leads to a service's port. */
function ingress(name: string, port: object, namespace = 'shop', serviceName = 'web'): object {
  const backend = { service: { name: serviceName, port } }
  return {
    metadata: { namespace, name },
    spec: { rules: [{ host: 'shop.example', http: { paths: [{ path: '/', backend }] } }] },
  }
}

function cluster(): Cluster {
  const made = new Cluster('n1', () => 1000)
  made.upsert('Service', service)
  return made
}

const named = (of: Cluster, port: number) => of.services.byAddress(0, 0, 0xffff, 0x0a600009, port, 6, 1000)

describe('service.ingresses', () => {
  it('are those that lead to the port, by name or by number', () => {
    const made = cluster()
    made.upsert('Ingress', ingress('by-name', { name: 'http' }))
    made.upsert('Ingress', ingress('by-number', { number: 80 }))
    made.upsert('Ingress', ingress('admin', { number: 81 }))
    expect(named(made, 80)?.ingresses).toEqual(['by-name', 'by-number'])
    expect(named(made, 81)?.ingresses).toEqual(['admin'])
    // the backend reached without the service's address
    expect(made.services.byBackend('shop', 'web', 'admin')?.ingresses).toEqual(['admin'])
  })

  it('are not those of other namespaces, other services or other ports', () => {
    const made = cluster()
    made.upsert('Ingress', ingress('elsewhere', { name: 'http' }, 'other'))
    made.upsert('Ingress', ingress('api', { name: 'http' }, 'shop', 'api'))
    made.upsert('Ingress', ingress('nowhere', { number: 8080 }))
    expect(named(made, 80)).toEqual({ namespace: 'shop', name: 'web', type: 'ClusterIP', portName: 'http' })
  })

  it('hold the default backend, and nothing that is no service', () => {
    const made = cluster()
    made.upsert('Ingress', {
      metadata: { namespace: 'shop', name: 'all' },
      spec: { defaultBackend: { service: { name: 'web', port: { number: 80 } } } },
    })
    made.upsert('Ingress', {
      metadata: { namespace: 'shop', name: 'bucket' },
      spec: { defaultBackend: { resource: { kind: 'Bucket', name: 'web' } }, rules: [7, { http: null }] },
    })
    expect(named(made, 80)?.ingresses).toEqual(['all'])
  })

  it('change with the Ingress, and the name stays the same object while they do not', () => {
    const made = cluster()
    const none = named(made, 80)
    made.upsert('Ingress', ingress('shop', { name: 'admin' }))
    expect(named(made, 80)).toBe(none)
    made.upsert('Ingress', ingress('shop', { name: 'http' }))
    const one = named(made, 80)
    expect(one?.ingresses).toEqual(['shop'])
    made.upsert('Ingress', ingress('shop', { name: 'http' }))
    expect(named(made, 80)).toBe(one)
    made.remove('Ingress', ingress('shop', { name: 'http' }))
    expect(named(made, 80)?.ingresses).toBeUndefined()
    // and with a list that does not have it any more
    made.upsert('Ingress', ingress('shop', { name: 'http' }))
    made.begin('Ingress')
    made.commit('Ingress')
    expect(named(made, 80)?.ingresses).toBeUndefined()
    expect(made.count('Ingress')).toBe(0)
  })
})
