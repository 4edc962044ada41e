// Sends bodies that are refused, with Node's fetch: `refused.mjs ORIGIN`, the cases as JSON on stdin. Every answer has to
// arrive, whatever the body's size, and the next request is served.

import { text } from 'node:stream/consumers'

const SIZES = [[0, 20], [100_000, 20], [1_000_000, 20], [10_000_000, 3], [40_000_000, 1]]
const PATIENCE = 90_000

const origin = process.argv[2]
const cases = JSON.parse(await text(process.stdin))
const started = Date.now()
const wrong = []
let sent = 0

async function attempt(what, work) {
  sent += 1
  try {
    await work()
  } catch (error) {
    wrong.push(`${what}: ${error} ${error.cause ?? ''}`)
  }
}

async function refuse({ method, path, headers, status }, size, body) {
  const answer = await fetch(origin + path, { method, headers, body, duplex: 'half' })
  const said = await answer.json()
  const right = size > 32 * 1024 * 1024 ? [413, status] : [status]
  if (!right.includes(answer.status) || said.status !== answer.status) throw new Error(`${answer.status} ${JSON.stringify(said)}`)
}

async function next() {
  const answer = await fetch(`${origin}/health`)
  if (answer.status !== 200 || (await answer.json()).status !== 'ok') throw new Error(`${answer.status}`)
}

const streamed = (size) => new ReadableStream({
  pull(controller) {
    const piece = Math.min(size, 65_536)
    size -= piece
    if (piece) controller.enqueue(new Uint8Array(piece))
    else controller.close()
  },
})

for (const [size, rounds] of SIZES) {
  for (const one of cases) {
    for (let round = 0; round < rounds && Date.now() - started < PATIENCE; round += 1) {
      await attempt(`${one.status} ${size}`, () => refuse(one, size, new Uint8Array(size)))
      if (size < 10_000_000) await attempt(`streamed ${one.status} ${size}`, () => refuse(one, size, streamed(size)))
      await attempt(`behind ${one.status} ${size}`, next)
    }
  }
}
// Several at once, and others between them.
for (const one of cases) {
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([10, 10_000, 200_000].flatMap((size) => [
      attempt(`kept ${one.status} ${size}`, () => refuse(one, size, new Uint8Array(size))), attempt('behind', next),
    ]))
  }
}
console.log([`${sent} sent, ${wrong.length} wrong`, ...wrong.slice(0, 20)].join('\n'))
process.exit(wrong.length ? 1 : 0)
