// The contract on the memory store.
import { test } from 'node:test'
import { memoryStore } from 'holdfast/stores/memory'
import { fakeClock, testStore } from 'holdfast/testing'

testStore(
  'memory',
  () => {
    const clock = fakeClock()
    return { store: memoryStore({ clock }), clock }
  },
  { test },
)
