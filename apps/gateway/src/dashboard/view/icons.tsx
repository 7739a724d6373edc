/** @jsxImportSource hono/jsx */

/** Shapes of 16 by 16, drawn in the colour of the text around them. */
const shapes = {
  overview: 'M2 13.5h12M3.5 11V7M6.5 11V3.5M9.5 11V6M12.5 11V2.5',
  requests: 'M2.5 4h11M2.5 8h11M2.5 12h7',
  audit: 'M4 1.5h6l3 3v10H4zM6.5 7h4M6.5 10h4',
  keys: 'M5.5 10.5a3 3 0 1 1 2.6-1.5L14 9v2.5h-2V9.8M5.5 7.5h.01',
  breakers: 'M8 1.5v5M4.6 3.7a5.5 5.5 0 1 0 6.8 0',
  pools:
    'M8 4.5c3 0 5-.7 5-1.5S11 1.5 8 1.5 3 2.2 3 3s2 1.5 5 1.5zM3 3v10c0 .8 2 1.5 5 1.5s5-.7 5-1.5V3M3 8c0 .8 2 1.5 5 1.5s5-.7 5-1.5',
  storage: 'M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.01M4.5 11h.01',
  system:
    'M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M3.4 12.6l1.4-1.4M11.2 4.8l1.4-1.4',
  menu: 'M2 4h12M2 8h12M2 12h12',
  theme: 'M8 1.5v13M8 3.5a4.5 4.5 0 0 0 0 9M8 1.7a6.3 6.3 0 1 0 .01 0',
  leave: 'M6.5 2H2.5v12h4M6 8h8M11 5l3 3-3 3',
  check: 'M2.5 8.5l3.5 3.5 7.5-8',
  cross: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  ring: 'M8 2.5a5.5 5.5 0 1 0 .01 0',
  play: 'M4.5 2.5l8 5.5-8 5.5z',
  clock: 'M8 2a6 6 0 1 0 .01 0M8 4.5V8l2.5 2',
  pause: 'M5 3v10M11 3v10',
  slash: 'M8 2a6 6 0 1 0 .01 0M4 12l8-8',
  stop: 'M5.3 2h5.4L14 5.3v5.4L10.7 14H5.3L2 10.7V5.3zM8 4.8v3.7M8 11.2h.01',
  half: 'M8 2a6 6 0 1 0 .01 0M8 2v12M8 5.5h4.5M8 8.5h6M8 11.5h4',
  warn: 'M8 2l6.5 11.5h-13zM8 6.5v3M8 11.6h.01',
  mark: 'M2 4.5l6-3 6 3v7l-6 3-6-3zM5 8l2.2 2.2L11.2 6',
} as const

export type IconName = keyof typeof shapes

/** A shape for the eye only; the words are beside it. */
export function Icon({ name, size = 16 }: { readonly name: IconName; readonly size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={shapes[name]} />
    </svg>
  )
}
