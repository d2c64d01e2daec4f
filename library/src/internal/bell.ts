// What wakes a follower of a feed that is told of news, and looks now and then anyway.

export interface Bell {
  ring(): void
  /** Resolves when it was rung since it was asked last, or after `everyMs`, when the next look is due. */
  news(): Promise<void>
}

export function bell(everyMs: number): Bell {
  let isNews = false
  let wake = () => {}
  return {
    ring() {
      isNews = true
      wake()
    },
    async news() {
      if (!isNews) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, everyMs)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
      isNews = false
    },
  }
}
