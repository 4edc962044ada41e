// Lets a program that cannot be told a key send one: `node --import with_key.mjs`, the key in VECTORIZER_KEY.

import { subscribe } from 'node:diagnostics_channel'

const authorization = `Bearer ${process.env.VECTORIZER_KEY}`

// `fetch`, and what is sent by `node:http`.
subscribe('undici:request:create', ({ request }) => request.addHeader('authorization', authorization))
subscribe('http.client.request.created', ({ request }) => request.setHeader('authorization', authorization))
