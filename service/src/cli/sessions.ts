// `holdfast sessions`: look at sessions and end them, without a token.
import type { Command } from './command.ts'

export const sessions: Command = { summary: 'list, show and end sessions', help: '', run: async () => 1 }
