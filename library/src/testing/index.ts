// Public names of `holdfast/testing`.
export {
  adapterContract,
  testAdapter,
  type AdapterAnswer,
  type AdapterHandler,
  type AdapterRequest,
  type AdapterRule,
  type ServeAdapter,
} from './adapter.ts'
export { fakeClock, type FakeClock } from './clock.ts'
export { sessionsContract, testSessions, type SessionsRule, type SessionsUnderTest } from './sessions.ts'
export { feedContract, testFeed, type FeedRule, type FeedUnderTest } from './feed.ts'
export {
  socketAdapterContract,
  testSocketAdapter,
  type SocketAdapterRule,
  type SocketAdapterUnderTest,
  type SocketClient,
  type SocketHandler,
} from './socket-adapter.ts'
export { storeContract, testStore, type StoreRule, type StoreUnderTest, type TestFunction } from './store.ts'
