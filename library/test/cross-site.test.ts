import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSafe, refuseCrossSite } from '../src/cross-site.ts'
import { CrossSiteError } from '../src/errors.ts'

const own = { host: 'shop.example', origin: 'https://shop.example' }
const trusted = new Set(['https://accounts.example'])

/** In the order of the checks: what the browser sent, whether a cookie came, whether it may change something. */
const table: readonly (readonly [headers: Record<string, string>, cookie: boolean, allowed: boolean])[] = [
  // Fetch Metadata says where it comes from.
  [{ ...own, 'sec-fetch-site': 'same-origin' }, true, true],
  [{ ...own, 'sec-fetch-site': 'none' }, true, true],
  [{ ...own, 'sec-fetch-site': 'same-site' }, true, false],
  [{ ...own, 'sec-fetch-site': 'cross-site' }, true, false],
  [{ ...own, 'sec-fetch-site': 'cross-site' }, false, false],
  [{ ...own, 'sec-fetch-site': 'same-site' }, false, false],
  [{ ...own, 'sec-fetch-site': '' }, true, false],
  [{ ...own, 'sec-fetch-site': 'Same-Origin' }, true, false],
  [{ ...own, 'sec-fetch-site': 'same-origin, cross-site' }, true, false],
  [{ host: 'shop.example', 'sec-fetch-site': 'same-origin' }, true, true],
  // An allowlisted origin, whatever Fetch Metadata says of it.
  [{ host: 'shop.example', 'sec-fetch-site': 'cross-site', origin: 'https://accounts.example' }, true, true],
  [{ host: 'shop.example', 'sec-fetch-site': 'same-site', origin: 'https://accounts.example' }, true, true],
  [{ host: 'shop.example', origin: 'https://accounts.example' }, true, true],
  [{ host: 'shop.example', 'sec-fetch-site': 'cross-site', origin: 'http://accounts.example' }, true, false],
  [{ host: 'shop.example', 'sec-fetch-site': 'cross-site', origin: 'https://accounts.example.evil' }, true, false],
  [{ host: 'shop.example', 'sec-fetch-site': 'cross-site', origin: 'https://accounts.example:444' }, true, false],
  // Without Fetch Metadata the origin must be the one that was asked.
  [{ ...own }, true, true],
  [{ host: 'SHOP.example', origin: 'https://shop.example' }, true, true],
  [{ host: 'shop.example:8443', origin: 'https://shop.example:8443' }, true, true],
  [{ host: 'shop.example:8443', origin: 'https://shop.example' }, true, false],
  [{ host: 'shop.example', origin: 'https://evil.example' }, true, false],
  [{ host: 'shop.example', origin: 'https://evil.example' }, false, false],
  [{ host: 'shop.example', origin: 'https://sub.shop.example' }, true, false],
  [{ host: 'shop.example', origin: 'https://shop.example.evil' }, true, false],
  [{ host: 'shop.example', origin: 'null' }, true, false],
  [{ host: 'null', origin: 'null' }, true, false],
  [{ host: 'shop.example', origin: '' }, true, false],
  [{ host: 'shop.example', origin: 'https://shop.example, https://evil.example' }, true, false],
  [{ origin: 'https://shop.example' }, true, false],
  [{ origin: 'null' }, true, false],
  // Neither: no browser. A cookie alone is not enough.
  [{ host: 'shop.example' }, true, false],
  [{ host: 'shop.example' }, false, true],
  [{}, true, false],
  [{}, false, true],
]

for (const [headers, cookie, allowed] of table) {
  test(`${allowed ? 'passes' : 'is refused'}: ${JSON.stringify(headers)} ${cookie ? 'with' : 'without'} a cookie`, () => {
    const check = () => refuseCrossSite((name) => headers[name] ?? null, cookie, trusted)
    if (allowed) check()
    else assert.throws(check, CrossSiteError)
  })
}

test('methods that change nothing may come from anywhere; every other one, and in any other case, may not', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'TRACE']) assert.equal(isSafe(method), true, method)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'QUERY', 'get', 'Head', '', 'GET ', 'PROPFIND']) {
    assert.equal(isSafe(method), false, method)
  }
})
