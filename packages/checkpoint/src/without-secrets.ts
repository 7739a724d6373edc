const secretWord = /(?:^| )(?:token|sig|signature|password|passwd|secret|credential|apikey)s?(?: |$)/
const secretKey = /(?:^|(?:api|access|private|secret) )keys?$/

/** Whether a query parameter is named like a secret: `access_token`, `apiKey`, `sig`. */
function isSecretName(name: string): boolean {
  const words = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, ' ')
    .trim()
  return secretWord.test(words) || secretKey.test(words)
}

const parameter = /([?&])([^=&#\s]{1,128})=([^&#\s'"]*)/g
const mask = 'redacted'

/** The same text, in which URLs have lost their user information and the values of parameters that are named like secrets. */
export function withoutSecrets(text: string): string {
  return withoutSecretParameters(text.replaceAll(/:\/\/[^@/\s?#]{1,512}@/g, `://${mask}@`))
}

/** The same URL without the values of parameters that are named like secrets, other than those of `kept`. */
export function withoutSecretParameters(url: string, kept: readonly string[] = []): string {
  if (!url.includes('?') && !url.includes('&')) return url
  return url.replaceAll(parameter, (whole, before: string, name: string) => {
    const decoded = decodedName(name)
    return isSecretName(decoded) && !kept.includes(decoded) ? `${before}${name}=${mask}` : whole
  })
}

function decodedName(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}
