// `service=[NS/]NAME`, bare or `to-`: what the client addressed. `from-service`: the source is one of those who answer
// for the service, as far as flows have shown who does.

import type { Name, ServiceName } from '../../../agent/identity/names.js'
import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import type { Vocabulary } from '../vocabulary.js'
import { Answers, type Predicate } from './predicate.js'

export function servicePredicate(value: FilterValue & { kind: 'service' }, end: FilterEnd): Predicate {
  const { namespace, name } = value
  if (end === 'source') return fromService(namespace, name)
  const answers = new Answers(
    (service: ServiceName) =>
      service.name === name && (namespace === undefined || service.namespace === namespace),
  )
  return (columns, row) => answers.of(columns.vocabulary.services, columns.service[row]!)
}

function fromService(namespace: string | undefined, service: string): Predicate {
  let asked: Vocabulary | undefined
  let epoch = 0
  const answers = new Answers((name: Name) => asked?.answersFor(name, namespace, service) ?? false)
  return (columns, row) => {
    const { vocabulary } = columns
    if (vocabulary !== asked || vocabulary.backendEpoch !== epoch) {
      asked = vocabulary
      epoch = vocabulary.backendEpoch
      answers.forget()
    }
    return answers.of(vocabulary.names, columns.source[row]!)
  }
}
