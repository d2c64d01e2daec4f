#!/usr/bin/env node
// The `holdfast` command.
import { UsageError, print, type Command } from './cli/command.ts'
import { oldestNode, runsOn } from './node-version.ts'
import { nearest } from './nearest.ts'
import { StartError } from './start-error.ts'

const commands: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('./cli/serve.ts')).serve,
  clients: async () => (await import('./cli/clients.ts')).clients,
  sessions: async () => (await import('./cli/sessions.ts')).sessions,
  keys: async () => (await import('./cli/keys.ts')).keys,
  move: async () => (await import('./cli/move.ts')).move,
  import: async () => (await import('./cli/import.ts')).importCommand,
  migrate: async () => (await import('./cli/migrate.ts')).migrate,
  doctor: async () => (await import('./cli/doctor.ts')).doctor,
  version: async () => (await import('./cli/version.ts')).versionCommand,
}

process.exit(await main(process.argv.slice(2)))

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (!runsOn(process.version))
    return complain(1, `this is Node ${process.version}: upgrade it to ${oldestNode} or newer`)
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    print(await overview())
    return name === undefined ? 2 : 0
  }
  const known = name === '--version' ? 'version' : name
  const load = Object.hasOwn(commands, known) ? commands[known] : undefined
  if (load === undefined) {
    const meant = nearest(name, Object.keys(commands), 2)
    const hint = meant === null ? '' : `did you mean ${meant}? `
    return complain(2, `there is no command '${name}'; ${hint}holdfast --help lists all`)
  }
  const command = await load()
  if (args.includes('--help') || args.includes('-h')) {
    print(command.help)
    return 0
  }
  try {
    refuseRepeated(args)
    return await command.run(idsLast(args))
  } catch (error) {
    if (error instanceof StartError) return complain(1, ...error.problems)
    const misunderstood = whyMisunderstood(error)
    if (misunderstood !== null) return complain(2, `${misunderstood} (holdfast ${name} --help)`)
    return complain(1, `failed: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** node:util would silently take the last of several. */
function refuseRepeated(args: readonly string[]): void {
  const seen = new Set<string>()
  for (const arg of args) {
    if (arg === '--') return
    if (!arg.startsWith('--')) continue
    const option = arg.split('=', 1)[0]!
    if (seen.has(option)) throw new UsageError(`${option} is given more than once`)
    seen.add(option)
  }
}

/** Ids of sessions (22 characters) and of keys (16) may begin with a dash, and are no options; none of ours is as long. */
function idsLast(args: readonly string[]): readonly string[] {
  const isId = (arg: string) => /^-([\w-]{15}|[\w-]{21})$/.test(arg)
  if (args.includes('--') || !args.some(isId)) return args
  return [...args.filter((arg) => !isId(arg)), '--', ...args.filter(isId)]
}

/** What of the command line was wrong; `null` when it was something else. */
function whyMisunderstood(error: unknown): string | null {
  const { code, message } = error as Error & { code?: string }
  if (error instanceof UsageError) return message
  // By node:util, which goes on about positional arguments.
  const unknownOption = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'(-[^' ]*)/.exec(message) : null
  if (unknownOption !== null) return `there is no option ${unknownOption[1]}`
  return code?.startsWith('ERR_PARSE_ARGS') === true ? message : null
}

function complain(exitCode: number, ...lines: readonly string[]): number {
  for (const line of lines) process.stderr.write(`holdfast: ${line}\n`)
  return exitCode
}

async function overview(): Promise<string> {
  const lines: string[] = []
  for (const [name, load] of Object.entries(commands)) lines.push(`  ${name.padEnd(10)}${(await load()).summary}`)
  return `holdfast <command>\n\n${lines.join('\n')}\n\nholdfast <command> --help says more.`
}
