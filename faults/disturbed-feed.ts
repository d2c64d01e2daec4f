// A feed that delivers twice, late again and out of order: what every follower must bear, and switchable.
import type { Feed, Notice } from 'holdfast'
import { shuffled, type Random } from './random.ts'

export interface Disturbance {
  on: boolean
}

const remembered = 200
const againAtMost = 20

/** Nothing is held back: a step still brings all that it brought. */
export function disturbedFeed(feed: Feed, disturbance: Disturbance, random: Random): Feed {
  const old: Notice[] = []
  return {
    publish: (notice, o) => feed.publish(notice, o),
    async *follow(o) {
      for await (const step of feed.follow(o)) {
        const again = disturbance.on ? shuffled(random, old).slice(0, againAtMost) : []
        old.push(...step.notices)
        old.splice(0, old.length - remembered)
        if (disturbance.on) yield { ...step, notices: shuffled(random, [...again, ...step.notices, ...step.notices]) }
        else yield step
      }
    },
  }
}
