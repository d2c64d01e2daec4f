// `holdfast version`.
import { version } from '../version.ts'
import { print, type Command } from './command.ts'

export const versionCommand: Command = {
  summary: 'print the version',
  help: 'holdfast version\n\nPrints the version of the service and of Node.',
  async run() {
    print(`holdfast ${version} (Node ${process.version})`)
    return 0
  },
}
