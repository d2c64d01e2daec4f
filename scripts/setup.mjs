// Makes a fresh checkout runnable: installs what package-lock.json says, and only when something changed.
// Runs before anything is installed, so on any Node from 20 on and without a dependency.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync, utimesSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const lockfile = `${root}/package-lock.json`
const installed = `${root}/node_modules/.package-lock.json`

if (Number(process.versions.node.split('.')[0]) < 20) {
  console.error(`Holdfast is built with Node 20 or newer; this is ${process.version}.`)
  process.exit(1)
}

if (!upToDate()) install()

function upToDate() {
  if (!existsSync(installed)) return false
  return !existsSync(lockfile) || statSync(installed).mtimeMs >= statSync(lockfile).mtimeMs
}

// `npm ci` would refuse a lockfile that doesn't list the optional binaries of every platform; this takes the locked
// versions all the same, leaves the lockfile as it is, and keeps what is already there.
function install() {
  // Not to stdout, where programs read what a command prints.
  console.error('installing…')
  const args = ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error']
  const npm = spawnSync('npm', args, {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (npm.status !== 0) {
    console.error(`npm ${args.join(' ')} failed\n${npm.error ?? ''}${npm.stdout ?? ''}${npm.stderr ?? ''}`)
    process.exit(npm.status || 1)
  }
  const now = new Date()
  utimesSync(installed, now, now)
}
