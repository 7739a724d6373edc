export { absolute, clock, count, figure, relative } from '../view/format.ts'
