/** Path and names of the query of a URL. Values of a query may be anything; which ones were given is what an audit asks for. */
export function redactedUrl(url: string): string {
  const { pathname, searchParams } = new URL(url)
  const names = [...new Set(searchParams.keys())].slice(0, 50)
  if (names.length === 0) return pathname
  return `${pathname}?${names.map((name) => `${encodeURIComponent(name.slice(0, 64))}=[redacted]`).join('&')}`
}
