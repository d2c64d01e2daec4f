import assert from 'node:assert/strict'
import { test } from 'node:test'
import bowser from 'bowser'
import { describe, parseUserAgent } from '../src/device.ts'

const apple = (rest: string) =>
  `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) ${rest}`
const windows = (rest: string) =>
  `Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) ${rest}`
const linux = (rest: string) => `Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) ${rest}`
const android = (model: string, rest: string) =>
  `Mozilla/5.0 (Linux; Android 14; ${model}) AppleWebKit/537.36 (KHTML, like Gecko) ${rest}`
const iphone = (rest: string) =>
  `Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ${rest}`
const ipad = (rest: string) =>
  `Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ${rest}`

/** Of browsers that people sign in with. */
const userAgents = [
  windows('Chrome/140.0.0.0 Safari/537.36'),
  windows('Chrome/99.0.4844.51 Safari/537.36'),
  apple('Chrome/138.0.0.0 Safari/537.36'),
  linux('Chrome/126.0.0.0 Safari/537.36'),
  linux('HeadlessChrome/126.0.0.0 Safari/537.36'),
  'Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/109.0.0.0 Safari/537.36',
  android('Pixel 8', 'Chrome/124.0.0.0 Mobile Safari/537.36'),
  android('SM-S918B', 'Chrome/122.0.6261.119 Mobile Safari/537.36'),
  android('SM-X710', 'Chrome/120.0.0.0 Safari/537.36'),
  android('K; wv', 'Version/4.0 Chrome/119.0.0.0 Mobile Safari/537.36'),
  iphone('CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1'),
  ipad('CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1'),
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0',
  'Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0',
  'Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/113.0',
  'Mozilla/5.0 (Android 13; Mobile; rv:126.0) Gecko/126.0 Firefox/126.0',
  iphone('FxiOS/127.0 Mobile/15E148 Safari/605.1.15'),
  apple('Version/17.5 Safari/605.1.15'),
  apple('Version/13.1.2 Safari/605.1.15'),
  iphone('Version/17.5 Mobile/15E148 Safari/604.1'),
  ipad('Version/16.6 Mobile/15E148 Safari/604.1'),
  'Mozilla/5.0 (iPod touch; CPU iPhone OS 15_8 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.6.6 Mobile/15E148 Safari/604.1',
  windows('Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0'),
  apple('Chrome/125.0.0.0 Safari/537.36 Edg/125.0.2535.92'),
  windows('Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763'),
  android('Pixel 7', 'Chrome/124.0.0.0 Mobile Safari/537.36 EdgA/124.0.2478.64'),
  iphone('Version/17.0 EdgiOS/125.0.2535.60 Mobile/15E148 Safari/604.1'),
  windows('Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0'),
  linux('Chrome/120.0.0.0 Safari/537.36 OPR/106.0.0.0'),
  android('SM-A546B', 'Chrome/122.0.0.0 Mobile Safari/537.36 OPR/81.2.4292.78446'),
  android('SM-G991B', 'SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36'),
  android('SM-T870', 'SamsungBrowser/23.0 Chrome/115.0.0.0 Safari/537.36'),
  windows('Chrome/122.0.0.0 Safari/537.36 Vivaldi/6.6.3271.57'),
  linux('Chrome/124.0.0.0 Safari/537.36 Vivaldi/6.7.3329.31'),
  windows('Chrome/122.0.0.0 YaBrowser/24.4.1.951 Yowser/2.5 Safari/537.36'),
  android('M2101K6G', 'Chrome/120.0.6099.230 YaBrowser/24.1.3.50.00 SA/3 Mobile Safari/537.36'),
]

/** What bowser calls by another name. */
const ours: Readonly<Record<string, string>> = {
  'Microsoft Edge': 'Edge',
  'Samsung Internet for Android': 'Samsung Internet',
  'Yandex Browser': 'Yandex',
  'Chrome Headless': 'Chrome',
  'Android Browser': 'Chrome',
  'Chrome OS': 'ChromeOS',
}

for (const userAgent of userAgents) {
  test(`as bowser reads it: ${userAgent.slice(userAgent.lastIndexOf('Gecko) ') + 1).slice(-80)}`, () => {
    const theirs = bowser.parse(userAgent)
    const { browser, system } = parseUserAgent(userAgent)
    const family = ours[theirs.browser.name ?? ''] ?? theirs.browser.name
    assert.equal(browser, `${family} ${theirs.browser.version?.split('.')[0]}`)
    const os = theirs.os.name === 'iOS' && theirs.platform.type === 'tablet' ? 'iPadOS' : theirs.os.name
    assert.equal(system, os === undefined ? null : (ours[os] ?? os))
  })
}

test('what bowser does not know', () => {
  const duckDuckGo = iphone('Version/17.4 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15')
  assert.deepEqual(parseUserAgent(duckDuckGo), { browser: 'DuckDuckGo 7', system: 'iOS' })
  assert.deepEqual(parseUserAgent('curl/8.5.0'), { browser: 'curl 8', system: null })
})

test('the label is what people would say, as far as it is known', () => {
  assert.equal(describe('Chrome 140', 'Windows', null).label, 'Chrome 140 on Windows')
  assert.equal(describe('curl 8', null, null).label, 'curl 8')
  assert.equal(describe(null, 'Linux', null).label, 'Linux')
  assert.equal(describe(null, null, '192.0.2.1').label, 'Unknown device')
})

test('what is no browser is nothing, and nothing makes it fail or slow', () => {
  for (const odd of [
    null,
    '',
    'x',
    'Mozilla/5.0',
    'Chrome',
    'Chrome/',
    'Version/',
    '\0',
    '<script>alert(1)</script>',
    '__proto__',
    'é'.repeat(600),
  ]) {
    assert.deepEqual(parseUserAgent(odd), { browser: null, system: null }, String(odd))
  }
  const endless = `${'Version/1'.repeat(1_000_000)} Firefox/128 Linux`
  assert.deepEqual(parseUserAgent(endless), { browser: null, system: null })
})
