// nginx for tests.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, freePort, listening, tended, type Server } from './server.ts'

/**
 * nginx with a template as it is shipped, for the folder `/etc/nginx/templates` of the image: `${NAME}` is replaced where `env`, or
 * `PORT` for where to listen, has that name, and everything else stays, as `envsubst` does it there.
 */
export async function startNginx(
  template: string,
  env: Readonly<Record<string, string>> = {},
  port?: number,
): Promise<Server> {
  const program = process.env['NGINX_PATH'] || findProgram('nginx', { package: 'nginx', variable: 'NGINX_PATH' })
  const own = port ?? (await freePort())
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nginx-'))
  const values: Readonly<Record<string, string>> = { ...env, PORT: String(own) }
  const filled = readFileSync(template, 'utf8').replace(/\$\{(\w+)\}/g, (text, name: string) => values[name] ?? text)
  writeFileSync(join(folder, 'site.conf'), filled)
  writeFileSync(join(folder, 'nginx.conf'), around(folder))
  const child = spawn(program, ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return tended(child, { url: `http://127.0.0.1:${own}`, port: own, folder, ...listening(child, own) })
}

/** One process, so that there is one to kill; everything it writes is in the folder, but for what went wrong. */
function around(folder: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${folder}/${kind};`,
  )
  return `daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr error;
events {}
http {
  access_log off;
${temporary.join('\n')}
  include ${folder}/site.conf;
}
`
}
