interface TrustedTypes {
  createPolicy(name: string, rules: { createHTML(text: string): string }): { createHTML(text: string): string }
}

/** Pages come from this origin alone and are parsed, not run: a parsed document has no scripts that start. */
const policy = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes?.createPolicy('gw', {
  createHTML: (text) => text,
})

/** Another page of the dashboard as a document; `undefined` where it does not come, `elsewhere` where it leads to the log-in. */
export async function pageAt(url: string, signal?: AbortSignal): Promise<Document | 'elsewhere' | undefined> {
  const response = await fetch(url, {
    headers: { accept: 'text/html', 'x-fragment': '1' },
    ...(signal === undefined ? {} : { signal }),
  }).catch(() => undefined)
  if (response === undefined) return undefined
  if (new URL(response.url).pathname === '/login') return 'elsewhere'
  if (!response.ok) return undefined
  const text = await response.text()
  return new DOMParser().parseFromString(policy?.createHTML(text) ?? text, 'text/html')
}
