// Public names of `holdfast/testing`.
export { fakeClock, type FakeClock } from './clock.ts'
export { storeContract, testStore, type StoreRule, type StoreUnderTest, type TestFunction } from './store.ts'
