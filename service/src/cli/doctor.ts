// `holdfast doctor`: what is wrong, and what to do about it.
import type { Command } from './command.ts'

export const doctor: Command = { summary: 'check the installation, and say what to do', help: '', run: async () => 1 }
