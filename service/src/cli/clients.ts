// `holdfast clients`: who may call the service, and what they may do.
import { parseArgs } from 'node:util'
import { adminId, clientCacheMs, clientRegistry, tokensClient, type ClientRegistry } from '../clients.ts'
import { openShared } from './open.ts'
import { clientId, permissions, whyNoPermission } from '../permissions.ts'
import { StartError } from '../start-error.ts'
import { print, table, UsageError, type Command } from './command.ts'

export const clients: Command = {
  summary: 'add, list and remove clients',
  help: `holdfast clients add <id> --permissions <a,b,…>    prints the new client's secret, once
holdfast clients list
holdfast clients remove <id>                      refused by every replica within ${clientCacheMs / 1000} s

Permissions: ${permissions.join(', ')};
read:<section> and write:<section> for one section of data, assert:<client> for calls to one; admin permits everything.
Works on the store of HOLDFAST_STORE, or the one in HOLDFAST_DATA, while the service runs.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { permissions: { type: 'string' } },
      allowPositionals: true,
    })
    const [action, id, ...rest] = positionals
    if (rest.length > 0) throw new UsageError(`there is too much on the line: ${rest.join(' ')}`)
    switch (action) {
      case 'add':
        return add(checkedId(id), checkedPermissions(values.permissions))
      case 'list':
        return withRegistry(list)
      case 'remove':
        return remove(checkedId(id))
      default:
        throw new UsageError('expected add, list or remove')
    }
  },
}

async function add(id: string, granted: readonly string[]): Promise<number> {
  const adding = async (registry: ClientRegistry) => {
    const secret = await registry.add(id, granted)
    if (secret === null) throw new StartError(`there is a client '${id}' already: remove it first, or take another id`)
    process.stderr.write(`Client '${id}' may ${granted.join(', ')}. Its secret, which is shown only now:\n`)
    print(secret)
    return 0
  }
  // Clients may be there before the service first runs.
  return withRegistry(adding, { make: true })
}

async function list(registry: ClientRegistry): Promise<number> {
  const rows = (await registry.list()).map(({ id, permissions: held }) => [id, [...held].join(',')])
  print(table([['CLIENT', 'PERMISSIONS'], [adminId, 'admin'], ...rows]))
  return 0
}

async function remove(id: string): Promise<number> {
  return withRegistry(async (registry) => {
    if (!(await registry.remove(id))) throw new StartError(`there is no client '${id}': holdfast clients list`)
    print(`removed '${id}'; every replica refuses it within ${clientCacheMs / 1000} s`)
    return 0
  })
}

async function withRegistry(
  work: (registry: ClientRegistry) => Promise<number>,
  { make = false } = {},
): Promise<number> {
  const { engine, close } = await openShared({ make })
  try {
    return await work(clientRegistry(engine.clients))
  } finally {
    await close()
  }
}

function checkedId(id: string | undefined): string {
  if (id === undefined) throw new UsageError("the client's id is missing")
  if (!clientId.test(id)) throw new UsageError(`'${id}' is no client id; use up to 64 letters, digits, '_', '.' or '-'`)
  if (id === tokensClient) throw new UsageError(`'${id}' is what tokens say that no client began; take another id`)
  if (id === adminId)
    throw new UsageError(
      `the client '${adminId}' is always there; its secret comes from HOLDFAST_ADMIN_SECRET or the data folder`,
    )
  return id
}

function checkedPermissions(text: string | undefined): readonly string[] {
  const granted = [
    ...new Set(
      (text ?? '')
        .split(',')
        .map((one) => one.trim())
        .filter((one) => one !== ''),
    ),
  ]
  if (granted.length === 0) throw new UsageError(`--permissions is missing, such as --permissions start,verify`)
  const wrong = granted.map(whyNoPermission).filter((why) => why !== null)
  if (wrong.length > 0) throw new UsageError(wrong.join('; '))
  return granted
}
