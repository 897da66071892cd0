// The addresses behind `--server`: what people write, and the WebSocket and HTTP URLs that it stands for.

import { usageError } from '../../agent/errors.js'
import { Path } from '../protocol/names.js'

/** Where a server is when nobody says. */
export const DEFAULT_SERVER = 'ws://127.0.0.1:4280'

/**
 * The URL of `server` without a path of ours: ws, wss, http and https are understood, and `host:port` alone. A path
 * stays as a prefix (a proxy's). Throws a usage error that begins with `where`.
 */
export function serverUrl(server: string, where = 'server'): URL {
  const text = /^[a-zA-Z][a-zA-Z0-9+.-]*:\/\//.test(server) ? server : `ws://${server}`
  const takes = `${where} takes a URL such as ${DEFAULT_SERVER}`
  const refused = usageError(`${takes}, not ${JSON.stringify(server.slice(0, 200))}`)
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw refused
  }
  const secure = url.protocol === 'wss:' || url.protocol === 'https:'
  // URL would quietly drop or escape white space.
  const odd = url.hostname === '' || /\s/.test(server)
  if (odd || (!secure && url.protocol !== 'ws:' && url.protocol !== 'http:')) throw refused
  if (url.username !== '' || url.password !== '') {
    throw usageError(`${where} takes no user or password in the URL`, 'Use --token-file or VETHFLOW_TOKEN')
  }
  url.protocol = secure ? 'wss:' : 'ws:'
  url.search = ''
  url.hash = ''
  const prefix = url.pathname.replace(/\/+$/, '')
  url.pathname = prefix.endsWith(Path.FLOWS) ? prefix.slice(0, -Path.FLOWS.length) : prefix
  return url
}

/** The WebSocket URL of a server's stream. */
export function flowsUrl(base: URL): URL {
  const url = new URL(base)
  url.pathname = join(base, Path.FLOWS)
  return url
}

/** The HTTP URL of one of a server's paths. */
export function httpUrl(base: URL, path: string): URL {
  const url = new URL(base)
  url.protocol = base.protocol === 'wss:' ? 'https:' : 'http:'
  url.pathname = join(base, path)
  return url
}

function join(base: URL, path: string): string {
  return base.pathname.replace(/\/+$/, '') + path
}
