// The credential in a header field of its own.
import { ConfigError } from '../errors.ts'
import type { Transport } from './transport.ts'

/**
 * Sessions by a header field that has the credential and nothing else, such as `headerTransport('Txn-Token')` for what services assert to
 * each other. It hands out nothing by itself. `ConfigError` when `name` can't be the name of a field.
 */
export function headerTransport(name: string): Transport {
  // RFC 9110, section 5.1. Cookies and the like have rules of their own.
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /^(cookie|authorization|host)$/i.test(name)) {
    throw new ConfigError(`headerTransport: '${name}' is no name of a field of its own; write it as Txn-Token`)
  }
  const reads = name.toLowerCase()
  return {
    reads,
    ambient: false,
    extract: (header) => header(reads),
    attach: () => [],
    clear: () => [],
    refresh: null,
  }
}
