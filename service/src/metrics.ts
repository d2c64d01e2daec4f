// What is counted and measured, for Prometheus.
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { AggregationType, MeterProvider } from '@opentelemetry/sdk-metrics'
import type { FeedStatus, SessionEvent } from 'holdfast'
import type { Outcome } from './forward-auth/judge.ts'

export interface Metrics {
  /** A request was answered. */
  answered(method: string, route: string, status: number, seconds: number): void
  /** Something happened to a session. */
  happened(event: SessionEvent): void
  /** Where the state of the feed is asked for at each scrape. */
  watch(status: () => FeedStatus | null): void
  /** A proxy's question was answered. */
  decided(outcome: Outcome): void
  /** A client could not show who it is. */
  clientRefused(): void
  /** All of it, in Prometheus's text format. */
  text(): Promise<string>
}

export function createMetrics(): Metrics {
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  const provider = new MeterProvider({
    readers: [exporter],
    views: [
      {
        instrumentName: 'http_server_request_duration_seconds',
        aggregation: { type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM, options: { boundaries, recordMinMax: false } },
      },
    ],
  })
  const meter = provider.getMeter('holdfast')
  const duration = meter.createHistogram('http_server_request_duration_seconds', {
    unit: 's',
    description: 'Time to answer a request',
  })
  const started = meter.createCounter('holdfast_sessions_started', { description: 'Sessions started' })
  const ended = meter.createCounter('holdfast_sessions_ended', { description: 'Sessions ended before they expired' })
  const refused = meter.createCounter('holdfast_tokens_refused', { description: 'Tokens that opened no session' })
  const clients = meter.createCounter('holdfast_clients_refused', {
    description: 'Calls with a wrong client id or secret',
  })
  const decisions = new Map<Outcome, number>()
  meter
    .createObservableCounter('holdfast_forward_auth', { description: "Answers to proxies' questions, by outcome" })
    .addCallback((result) => {
      for (const [outcome, count] of decisions) result.observe(count, { outcome })
    })
  const up = meter.createObservableGauge('holdfast_store_up', { description: '0 while the store does not answer' })
  const memory = meter.createObservableGauge('process_resident_memory_bytes', {
    unit: 'By',
    description: 'Resident memory',
  })
  const cpu = meter.createObservableCounter('process_cpu_seconds', {
    unit: 's',
    description: 'CPU time, user and system',
  })
  const refreshes = meter.createCounter('holdfast_refreshes', {
    description: 'Refresh tokens taken: rotated, repeated in the window, or reused, which ended the session',
  })
  const trusted = meter.createCounter('holdfast_tokens_trusted_stale', {
    description: 'Signed tokens accepted though endings may have been unknown',
  })
  const gaps = meter.createCounter('holdfast_feed_gaps', { description: 'Times that endings may have been missed' })
  let status: () => FeedStatus | null = () => null
  for (const [name, kind, unit, description, value] of ofFeed) {
    const create = kind === 'counter' ? meter.createObservableCounter : meter.createObservableGauge
    create.call(meter, name, { description, ...unit }).addCallback((result) => {
      const state = status()
      const now = state === null ? null : value(state)
      if (now !== null && Number.isFinite(now)) result.observe(now)
    })
  }
  let storeUp = 1
  up.addCallback((result) => result.observe(storeUp))
  memory.addCallback((result) => result.observe(process.memoryUsage.rss()))
  cpu.addCallback((result) => result.observe((process.cpuUsage().user + process.cpuUsage().system) / 1e6))

  return {
    answered(method, route, status, seconds) {
      duration.record(seconds, { method, route, status })
    },
    happened(event) {
      if (event.type === 'started') started.add(1)
      else if (event.type === 'ended') ended.add(event.ids.length, { reason: event.reason })
      else if (event.type === 'refused') refused.add(1, { reason: event.reason })
      else if (event.type === 'refreshed') refreshes.add(1, { outcome: event.outcome })
      else if (event.type === 'trusted-stale') trusted.add(1)
      else if (event.type === 'feed-gap') gaps.add(1)
      else if (event.type === 'store-down') storeUp = 0
      else if (event.type === 'store-up') storeUp = 1
    },
    watch: (asked) => void (status = asked),
    // Counted by hand: an instrument would take a tenth of the time of an answer.
    decided: (outcome) => void decisions.set(outcome, (decisions.get(outcome) ?? 0) + 1),
    clientRefused: () => clients.add(1),
    async text() {
      const { resourceMetrics } = await exporter.collect()
      return serializer.serialize(resourceMetrics)
    },
  }
}

/** Seconds. Most answers take less than a millisecond. */
const boundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

const seconds = { unit: 's' }
const ofFeed: readonly (readonly [
  name: string,
  kind: 'gauge' | 'counter',
  o: { unit?: string },
  description: string,
  value: (status: FeedStatus) => number | null,
])[] = [
  ['holdfast_feed_age_seconds', 'gauge', seconds, 'How old the view of endings is', ({ ageMs }) => ageMs / 1000],
  [
    'holdfast_feed_lag_seconds',
    'gauge',
    seconds,
    "How long the feed took to bring back this replica's latest ending",
    ({ lagMs }) => (lagMs === null ? null : lagMs / 1000),
  ],
  ['holdfast_feed_fresh', 'gauge', {}, '0 while the store is asked at each request', ({ fresh }) => Number(fresh)],
  ['holdfast_endings_known', 'gauge', {}, 'Sessions known to have ended or changed', ({ endings }) => endings],
  ['holdfast_cache_entries', 'gauge', {}, 'Verifications cached', ({ cached }) => cached],
  ['holdfast_cache_bytes', 'gauge', { unit: 'By' }, 'About what they take', ({ cachedBytes }) => cachedBytes],
  ['holdfast_cache_hits', 'counter', {}, 'Verifications answered from the cache', ({ hits }) => hits],
  ['holdfast_cache_misses', 'counter', {}, 'Verifications that were not cached', ({ misses }) => misses],
]
