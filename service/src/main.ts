#!/usr/bin/env node
// The `holdfast` command.
import { UsageError, print, type Command } from './cli/command.ts'
import { oldestNode, runsOn } from './node-version.ts'
import { StartError } from './start-error.ts'

const commands: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('./cli/serve.ts')).serve,
  clients: async () => (await import('./cli/clients.ts')).clients,
  sessions: async () => (await import('./cli/sessions.ts')).sessions,
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
  const load = commands[name === '--version' ? 'version' : name]
  if (load === undefined) return complain(2, `there is no command '${name}'; holdfast --help lists all`)
  const command = await load()
  if (args.includes('--help') || args.includes('-h')) {
    print(command.help)
    return 0
  }
  try {
    return await command.run(args)
  } catch (error) {
    if (error instanceof StartError) return complain(1, ...error.problems)
    // node:util says what it does not know of a command line.
    const wrongUse =
      error instanceof UsageError || String((error as { code?: string }).code).startsWith('ERR_PARSE_ARGS')
    if (wrongUse) return complain(2, `${(error as Error).message} (holdfast ${name} --help)`)
    return complain(1, `failed: ${error instanceof Error ? error.message : String(error)}`)
  }
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
