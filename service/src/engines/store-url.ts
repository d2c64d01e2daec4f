// HOLDFAST_STORE: which engine keeps the sessions, and where. Nothing here opens a connection.
import { nearest } from '../nearest.ts'

/** A parsed URL. `shown` is for people and logs: without user name and password. */
export type StoreUrl =
  | { readonly kind: 'memory'; readonly shown: string }
  | { readonly kind: 'sqlite'; readonly path: string; readonly shown: string }
  | ({ readonly kind: 'redis'; readonly url: string; readonly shown: string } & Replicated)
  | ({ readonly kind: 'redis-cluster' } & ManyNodes & Replicated)
  | ({ readonly kind: 'redis-sentinel'; readonly name: string } & ManyNodes & Replicated)
  | Servers<'postgres'>
  | Servers<'mysql'>
  | Servers<'nats'>
  | Servers<'mongodb'>
  | Servers<'dynamodb'>

interface Servers<Kind> {
  readonly kind: Kind
  readonly url: string
  readonly shown: string
}

interface Replicated {
  /** How many replicas must have a write before it counts; 0: none. */
  readonly replicas: number
}

/** Several servers that are one engine, with the same credentials for each. */
export interface ManyNodes {
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
  readonly tls: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly shown: string
}

/** A URL with servers in it: how it looks, and which parameters its engine's client takes; `null`: the client says. */
interface Form {
  readonly form: string
  readonly parameters: readonly string[] | null
  /** What waits for replicas, where `?replicas` does not. */
  readonly replicated?: string
}

const forms = {
  postgres: {
    form: 'postgres://<user>@<host>:<port>/<database>',
    parameters: ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'application_name', 'options'],
    replicated: 'synchronous_standby_names',
  },
  mysql: {
    form: 'mysql://<user>@<host>:<port>/<database>',
    parameters: ['ssl'],
    replicated: 'semi-synchronous replication',
  },
  nats: { form: 'nats://<host>:<port>,<host>:<port>', parameters: [], replicated: 'the replicas of its streams' },
  mongodb: { form: 'mongodb://<host>:<port>/<database>', parameters: null },
  dynamodb: { form: 'dynamodb://<region>/<table>', parameters: [] },
} satisfies Record<string, Form>

const schemes =
  'memory sqlite redis rediss redis+cluster rediss+cluster redis+sentinel rediss+sentinel postgres postgresql mysql mariadb nats ' +
  'mongodb mongodb+srv dynamodb dynamodb+http dynamodb+https'

export const storeForms =
  'memory:, sqlite:<path>, redis://<host>:<port>, rediss://<host>:<port>, redis+cluster://<host>:<port>,<host>:<port>, ' +
  `redis+sentinel://<host>:<port>,<host>:<port>/<name of the master>, ${forms.postgres.form} (or postgresql://), ` +
  `${forms.mysql.form} (or mariadb://), ${forms.nats.form}, ${forms.mongodb.form} or ${forms.dynamodb.form}`

/** Throws an `Error` that says what is wrong, and never repeats the text, which may hold a password. */
export function parseStoreUrl(text: string): StoreUrl {
  const scheme = /^([a-z][a-z+]*):/.exec(text)?.[1]
  switch (scheme) {
    case 'memory':
      if (text !== 'memory:') throw new Error('memory: takes nothing after the colon')
      return { kind: 'memory', shown: text }
    case 'sqlite': {
      const path = text.slice('sqlite:'.length)
      // SQLite would keep these in memory, or nowhere.
      if (path === '' || /^(\/\/|:|file:)/.test(path))
        throw new Error('expected sqlite:<path>, such as sqlite:./sessions.db')
      return { kind: 'sqlite', path, shown: text }
    }
    case 'redis':
    case 'rediss': {
      const { url, replicas } = splitReplicas(text)
      return { ...parseOneRedis(url), replicas }
    }
    case 'redis+cluster':
    case 'rediss+cluster': {
      const { url, replicas } = splitReplicas(text)
      const { name, ...nodes } = parseMany(url)
      if (name !== '') throw new Error('a cluster has no name or database number after its nodes')
      return { kind: 'redis-cluster', replicas, ...nodes }
    }
    case 'redis+sentinel':
    case 'rediss+sentinel': {
      const { url, replicas } = splitReplicas(text)
      const { name, ...nodes } = parseMany(url)
      if (name === '') throw new Error('the name of the master is missing: redis+sentinel://<host>:<port>/<name>')
      return { kind: 'redis-sentinel', name, replicas, ...nodes }
    }
    case 'postgres':
    case 'postgresql':
      return { kind: 'postgres', ...parseServers(text, forms.postgres) }
    case 'mysql':
    case 'mariadb':
      checkMysqlTls(text)
      return { kind: 'mysql', ...parseServers(text, forms.mysql) }
    case 'mongodb':
    case 'mongodb+srv':
      return { kind: 'mongodb', ...parseServers(text, forms.mongodb) }
    case 'nats':
      return { kind: 'nats', ...parseServers(text, forms.nats) }
    case 'dynamodb':
    case 'dynamodb+http':
    case 'dynamodb+https':
      return { kind: 'dynamodb', ...parseServers(text, forms.dynamodb) }
    case 'memcached':
      throw new Error(
        'the service keeps its clients and keys beside the sessions, and Memcached loses everything when it is restarted: use another store',
      )
    default:
      throw new Error(`${meant(scheme)}expected ${storeForms}`)
  }
}

/** The beginning of a message about a scheme that there is not. Also for those of feeds. */
export function meant(scheme = ''): string {
  const known = nearest(scheme, schemes.split(' '), 2)
  return known === null ? '' : `did you mean ${known}:? `
}

/**
 * `<scheme>://<user>:<password>@<host>:<port>,<host>:<port>/<path>?<parameters>`. What is a path in the form is needed, and refused otherwise.
 */
function parseServers(text: string, { form, parameters, replicated }: Form): { url: string; shown: string } {
  const parts = /^([a-z+]+:\/\/)(?:([^/?#]*)@)?([^/?#@]+)(?:\/([^/?#@]*))?(?:\?([^#]*))?$/.exec(text)
  if (parts === null) throw new Error(`expected ${form}; encode special characters in the password`)
  const [, protocol, userInfo = '', hosts, path = '', query = ''] = parts
  if ((path === '') !== (form.split('/').length === 3)) throw new Error(`expected ${form}`)
  for (const host of hosts!.split(',')) {
    const found = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::(\d+))?$/i.exec(host)
    if (found === null || Number(found[1] ?? 1) > 65_535)
      throw new Error(`expected ${form} with ports of up to 65535; encode special characters in the password`)
  }
  for (const name of new URLSearchParams(query).keys()) {
    if (parameters === null || parameters.includes(name)) continue
    if (name === 'replicas' && replicated !== undefined)
      throw new Error(`?replicas is for Redis; here the server decides how many have a write (${replicated})`)
    const known = parameters.length === 0 ? 'none' : parameters.join(', ')
    throw new Error(`the URL has a parameter that there is not; of ${protocol}… there are: ${known}`)
  }
  checkEncoding(userInfo, path)
  return { url: text, shown: `${protocol}${hosts}${path === '' ? '' : `/${path}`}` }
}

/** `?ssl=true`, or the options of mysql2 as JSON. Anything else it would take for the name of a cloud. */
function checkMysqlTls(text: string): void {
  const ssl = new URLSearchParams(/\?(.*)$/.exec(text)?.[1]).get('ssl')
  if (ssl !== null && ssl !== 'true' && !/^\{.*\}$/s.test(ssl))
    throw new Error('expected ?ssl=true, or percent-encoded JSON such as ?ssl=%7B%22rejectUnauthorized%22%3Atrue%7D')
}

/** `?replicas=<n>` at the end. */
function splitReplicas(text: string): { url: string } & Replicated {
  const [, url, replicas] = /^(.*)\?replicas=([1-9])$/.exec(text) ?? [null, text, '0']
  return { url: url!, replicas: Number(replicas) }
}

function parseOneRedis(text: string): { readonly kind: 'redis'; readonly url: string; readonly shown: string } {
  if (!URL.canParse(text)) throw new Error('expected redis://<host>:<port>; encode special characters in the password')
  const url = new URL(text)
  if (url.hostname === '') throw new Error('the host is missing: redis://<host>:<port>')
  if (!/^\/?\d*$/.test(url.pathname))
    throw new Error('the path of a redis:// URL is the number of a database, such as /0')
  if (url.search !== '' || url.hash !== '')
    throw new Error('a redis:// URL takes nothing after the database number but ?replicas=<1 to 9>')
  checkEncoding(url.username, url.password)
  return { kind: 'redis', url: text, shown: `${url.protocol}//${url.host}${url.pathname}` }
}

function parseMany(text: string): ManyNodes & { name: string } {
  const parts = /^(rediss?)(\+[a-z]+):\/\/(?:([^/@]*)@)?([^/@]+)(?:\/([\w.-]*))?$/.exec(text)
  if (parts === null) throw new Error('expected <host>:<port>,<host>:<port> after the //')
  const [, protocol, mode, userInfo = '', hosts, name = ''] = parts
  const nodes = hosts!.split(',').map((node) => {
    const found = /^(\[[\da-f:.]+\]|[^:[\]]+):(\d{1,5})$/i.exec(node)
    if (found === null || Number(found[2]) > 65_535)
      throw new Error('expected <host>:<port> for each node; encode special characters in the password')
    return { host: found[1]!.replace(/^\[|\]$/g, ''), port: Number(found[2]) }
  })
  const [username = '', ...password] = userInfo.split(':')
  checkEncoding(username, password.join(':'))
  return {
    nodes,
    tls: protocol === 'rediss',
    username: username === '' ? undefined : decodeURIComponent(username),
    password: password.length === 0 ? undefined : decodeURIComponent(password.join(':')),
    name,
    shown: `${protocol}${mode}://${hosts}${name === '' ? '' : `/${name}`}`,
  }
}

function checkEncoding(...texts: readonly string[]): void {
  try {
    texts.forEach(decodeURIComponent)
  } catch {
    throw new Error('the user name or password is not percent-encoded correctly')
  }
}
