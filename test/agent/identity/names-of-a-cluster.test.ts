// Names of the recorded cluster, read from its lists as manifests.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { FlowFlag } from '../../../agent/capture/flow-batch.js'
import type { ClusterIdentity } from '../../../agent/identity/identity.js'
import { openIdentity } from '../../../agent/identity/open.js'
import { batchOf, nameOf, nameRows, quietLog } from './batch.js'

const fixtures = new URL('../../fixtures/kubernetes/', import.meta.url).pathname

describe('names of the recorded cluster', () => {
  let identity: ClusterIdentity

  beforeAll(async () => {
    identity = await openIdentity({ manifests: fixtures, nodeName: 'n1', log: quietLog() })
    identity.setLocalAddresses(['127.0.0.1', '172.18.0.2', '10.244.1.1', 'fe80::1', 'not an address'])
  })
  afterAll(() => identity.close())

  test.each([
    ['10.244.2.3', 'shop/web-859494c7d5-crjtt Deployment/web'],
    ['10.244.1.3', 'shop/web-859494c7d5-fgph8 Deployment/web'],
    ['10.244.1.2', 'shop/db-0 StatefulSet/db'],
    ['10.244.2.2', 'shop/db-1 StatefulSet/db'],
    ['10.244.2.5', 'shop/migrate-75dh8 Job/migrate'],
    ['10.244.1.4', 'dns-system/coredns-cfccdf558-rdtq2 Deployment/coredns'],
    ['10.244.2.4', 'dns-system/coredns-cfccdf558-7h6kj Deployment/coredns'],
    // Host-network pods (agent, hostnet) share their node's address: the node holds it.
    ['172.18.0.2', 'node n1'],
    ['172.18.0.3', 'node n2'],
    // This host's own.
    ['10.244.1.1', 'node n1'],
    ['127.0.0.53', 'node n1'],
    ['::1', 'node n1'],
    ['fe80::1', 'node n1'],
    // In a pod range, and nobody's.
    ['10.244.2.200', 'unknown'],
    // A service's cluster address that was not translated.
    ['10.96.0.10', 'unknown'],
    ['fd00:10:96::6838', 'unknown'],
    ['10.200.0.1', 'world'],
    ['192.0.2.77', 'world'],
    ['93.184.216.34', 'world'],
    ['2001:db8::1', 'world'],
  ])('%s is %s', (address, name) => {
    expect(nameOf(identity, address)).toBe(name)
  })

  test('a pod has its node, zone and labels, a node its zone', () => {
    const named = identity.name(batchOf([{ source: '10.244.2.3', destination: '172.18.0.3' }]))
    expect(named.source[0]).toMatchObject({ nodeName: 'n2', zone: 'z2' })
    expect(named.source[0]?.labels).toMatchObject({ app: 'web', 'pod-template-hash': '859494c7d5' })
    expect(named.destination[0]).toMatchObject({ nodeName: 'n2', zone: 'z2' })
  })

  const web = '10.244.2.3'
  test.each([
    ['ClusterIP', '10.96.136.227', 80, 6, web, 8080, 'shop/web ClusterIP http'],
    ['second port', '10.96.66.86', 9099, 6, web, 9090, 'shop/sticky ClusterIP admin'],
    ['UDP', '10.96.0.10', 53, 17, '10.244.2.4', 53, 'dns-system/kube-dns ClusterIP dns'],
    [
      'TCP of the same number',
      '10.96.0.10',
      53,
      6,
      '10.244.2.4',
      53,
      'dns-system/kube-dns ClusterIP dns-tcp',
    ],
    ['node port', '172.18.0.2', 30080, 6, web, 8080, 'shop/web-np NodePort -'],
    ['node port of another node', '172.18.0.3', 30090, 6, web, 8080, 'shop/web-local NodePort http'],
    ['node port through loopback', '127.0.0.1', 30080, 6, web, 8080, 'shop/web-np NodePort -'],
    ['load balancer', '203.0.113.10', 80, 6, web, 8080, 'shop/web-lb LoadBalancer -'],
    ['external address', '198.51.100.7', 80, 6, web, 8080, 'shop/web-local ExternalIP http'],
    ['hand-made backend', '10.96.188.211', 9000, 6, '192.0.2.77', 9000, 'shop/manual ClusterIP -'],
    ['dual stack, IPv4', '10.96.183.244', 81, 6, web, 8080, 'shop/dual ClusterIP -'],
    ['dual stack, IPv6', 'fd00:10:96::6838', 81, 6, 'fd00:10:244::7', 8080, 'shop/dual ClusterIP -'],
    ['host network backend', '10.96.0.1', 443, 6, '172.18.0.2', 6443, 'default/kubernetes ClusterIP https'],
    ['wrong port', '10.96.136.227', 81, 6, web, 8080, 'absent'],
    ['wrong protocol', '10.96.136.227', 80, 17, web, 8080, 'absent'],
    ['node port on an address that is no node', '10.244.1.2', 30080, 6, web, 8080, 'absent'],
  ])('service by %s', (_, service, servicePort, protocol, destination, port, expected) => {
    const [said] = nameRows(identity, [
      { source: '10.244.1.2', service, servicePort, protocol, destination, port },
    ])
    expect(said?.service).toBe(expected)
  })

  test.each([
    ['headless', '10.244.1.2', 5432, 6, 'shop/db Headless -'],
    ['one service only', '10.244.1.4', 53, 17, 'dns-system/kube-dns ClusterIP dns'],
    ['hand-made slice', '192.0.2.77', 9000, 6, 'shop/manual ClusterIP -'],
    ['one service has this port', '10.244.1.3', 9090, 6, 'shop/sticky ClusterIP admin'],
    ['six services have this one', '10.244.1.3', 8080, 6, 'absent'],
    ['not a service port', '10.244.1.2', 22, 6, 'absent'],
  ])('service by backend, not translated: %s', (_, destination, port, protocol, expected) => {
    const [said] = nameRows(identity, [{ source: web, destination, port, protocol }])
    expect(said?.service).toBe(expected)
  })

  test('an untranslated service address still names the service', () => {
    const [said] = nameRows(identity, [{ source: web, destination: '10.96.136.227', port: 80 }])
    expect(said).toMatchObject({ destination: 'unknown', service: 'shop/web ClusterIP http' })
  })

  test.each([
    ['10.244.1.2', '10.244.1.3', 0, 'LOCAL'],
    ['10.244.1.2', '10.244.2.3', 0, 'EGRESS'],
    ['10.244.2.3', '10.244.1.2', 0, 'INGRESS'],
    ['10.244.2.3', '10.244.2.2', 0, 'TRANSIT'],
    ['172.18.0.2', '93.184.216.34', 0, 'EGRESS'],
    ['93.184.216.34', '172.18.0.3', 0, 'TRANSIT'],
    ['10.244.1.99', '93.184.216.34', FlowFlag.SOURCE_AT_VETH, 'EGRESS'],
    ['93.184.216.34', '10.244.1.99', FlowFlag.DESTINATION_AT_VETH, 'INGRESS'],
  ])('%s to %s with flags %i is %s', (source, destination, flags, expected) => {
    expect(nameRows(identity, [{ source, destination, flags }])[0]?.direction).toBe(expected)
  })

  test('whoever speaks through a veth is no stranger to the cluster', () => {
    const [said] = nameRows(identity, [
      { source: '192.168.99.1', destination: '192.168.99.2', flags: FlowFlag.SOURCE_AT_VETH },
    ])
    expect(said).toMatchObject({ source: 'unknown', destination: 'world' })
  })

  test('equal names are one object, from batch to batch', () => {
    const rows = [
      { source: '10.244.1.2', service: '10.96.136.227', servicePort: 80, destination: web, port: 8080 },
    ]
    const before = identity.name(batchOf(rows))
    const [source, service] = [before.source[0], before.service[0]]
    const after = identity.name(batchOf(rows))
    expect(after.source[0]).toBe(source)
    expect(after.service[0]).toBe(service)
  })

  test('every resource is read and counted', () => {
    expect(identity.synced).toBe(true)
    const counts = Object.fromEntries(identity.resources().map(({ name, objects }) => [name, objects]))
    expect(counts).toEqual({
      pods: 10,
      services: 11,
      endpointslices: 10,
      ingresses: 1,
      nodes: 2,
      namespaces: 6,
      replicasets: 2,
      jobs: 1,
    })
  })
})
