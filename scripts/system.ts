// What the tests need from the system beside Node. On Debian as root it is installed; elsewhere it is asked for.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, globSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Need {
  /** The Debian package. */
  readonly name: string
  readonly commands: readonly string[]
  /** Where Debian keeps them, when that is not on the PATH. */
  readonly folders?: string
  /** Points at one that is already there. */
  readonly variable: string
}

/** What is imported from there is found as commands are. */
const pythonPackages = '/usr/lib/python3/dist-packages'

const needs: readonly Need[] = [
  { name: 'redis-server', commands: ['redis-server'], variable: 'REDIS_URL' },
  { name: 'postgresql', commands: ['initdb'], folders: '/usr/lib/postgresql/*/bin', variable: 'POSTGRES_URL' },
  { name: 'mariadb-server', commands: ['mariadbd'], folders: '/usr/sbin', variable: 'MYSQL_URL' },
  { name: 'memcached', commands: ['memcached'], variable: 'MEMCACHED_URL' },
  { name: 'nats-server', commands: ['nats-server'], folders: '/usr/sbin', variable: 'NATS_URL' },
  { name: 'nginx', commands: ['nginx'], folders: '/usr/sbin', variable: 'NGINX_PATH' },
  { name: 'haproxy', commands: ['haproxy'], folders: '/usr/sbin', variable: 'HAPROXY_PATH' },
  { name: 'openssl', commands: ['openssl'], variable: 'OPENSSL_PATH' },
  { name: 'caddy', commands: ['caddy'], variable: 'CADDY_PATH' },
  { name: 'python3-jwt', commands: ['jwt'], folders: pythonPackages, variable: 'PYTHON_PATH' },
  { name: 'python3-cryptography', commands: ['cryptography'], folders: pythonPackages, variable: 'PYTHON_PATH' },
  { name: 'chromium', commands: ['chromium', 'chromium-browser', 'google-chrome'], variable: 'CHROMIUM_PATH' },
]

/** Sees to it that these Debian packages are there, by default all that tests need; `null`, or a line that says what is missing. */
export function missingPackages(names = needs.map(({ name }) => name)): string | null {
  const unmet = () => needs.filter((need) => names.includes(need.name) && !isMet(need))
  if (unmet().length > 0 && process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    const missing = unmet().map(({ name }) => name)
    console.log(`installing ${missing.join(', ')}…`)
    install(missing)
  }
  if (unmet().length === 0) return null
  return `Needed, but not there: ${unmet()
    .map(({ name, variable }) => `${name} (or ${variable})`)
    .join(' and ')}.`
}

function isMet({ commands, folders = '', variable }: Need): boolean {
  const path = [...(process.env['PATH'] ?? '').split(delimiter), ...globSync(folders)]
  return (process.env[variable] ?? '') !== '' || commands.some((command) => isIn(path, command))
}

function isIn(path: readonly string[], command: string): boolean {
  return path.some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** A package's own server is not to be started: Debian asks this file whether it may be. */
const policy = '/usr/sbin/policy-rc.d'

function install(names: readonly string[]): void {
  const ownPolicy = !existsSync(policy)
  if (ownPolicy) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    aptGet('update')
    aptGet('install', '--yes', '--no-install-recommends', ...names)
  } finally {
    if (ownPolicy) rmSync(policy)
  }
}

function aptGet(...args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status, stdout, stderr } = spawnSync('apt-get', ['-qq', ...args], { env, encoding: 'utf8' })
  if (status !== 0) console.error(`apt-get ${args.join(' ')} failed\n${stdout}${stderr}`)
}
