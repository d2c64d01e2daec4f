// What `holdfast serve` says to people when it is ready.
import { adminSecretFile } from '../data-folder.ts'
import { serviceUrl, type Settings } from '../settings.ts'

/** Where it is, where the secret is, and five lines for bash that show it at work. The secret itself is not in it. */
export function welcome(settings: Settings): string {
  const url = serviceUrl(settings)
  const file = adminSecretFile(settings)
  const made = settings.adminSecret === null
  return `
Holdfast is ready at ${url} (store: ${settings.store.shown})

  admin secret   ${made ? file : 'the value of HOLDFAST_ADMIN_SECRET'}
  calls          ${url}/docs

Try it: paste these lines into bash, one after the other.

${curlLines(url, made ? `$(cat ${quoted(file)})` : '$HOLDFAST_ADMIN_SECRET').join('\n\n')}

`
}

/** Start a session, verify it, write data, list the user's sessions, end it and see it refused. */
export function curlLines(url: string, secret: string): readonly string[] {
  const curl = `curl -sS -u "admin:${secret}"`
  const json = `-H 'content-type: application/json'`
  return [
    `A=$(${curl} ${json} -d '{"userId":"ada","roles":["shopper"]}' ${url}/v1/sessions); ID=$(sed 's/.*"id":"\\([^"]*\\)".*/\\1/' <<<"$A"); TOKEN=$(sed 's/.*"token":"\\([^"]*\\)".*/\\1/' <<<"$A"); echo "$A"`,
    `${curl} ${json} -d "{\\"token\\":\\"$TOKEN\\"}" ${url}/v1/sessions/verify; echo`,
    `${curl} ${json} -X PUT -H 'if-none-match: *' -d '["a book"]' -w 'data written: %{http_code}\\n' ${url}/v1/sessions/$ID/data/cart`,
    `${curl} ${url}/v1/users/ada/sessions; echo`,
    `${curl} -X DELETE -w 'ended: %{http_code}\\n' ${url}/v1/sessions/$ID; ${curl} ${json} -d "{\\"token\\":\\"$TOKEN\\"}" ${url}/v1/sessions/verify; echo`,
  ]
}

/** As one word of bash. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
