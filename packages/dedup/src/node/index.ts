export { nodeCrypto } from './crypto.ts'
export { type FileSpill, type FileSpillOptions, fileSpill } from './file-spill.ts'
