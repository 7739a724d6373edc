import { type ChildProcess, execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Unavailable } from './unavailable.ts'

/** A file system of its own on a loop device, whose power can be cut. */
export interface FaultyDisk {
  /** Where it is mounted. */
  readonly path: string
  /**
   * Stops the file system as a power cut does: what the kernel holds and has not written is gone. Tells whether it is really off:
   * a write right afterwards fails.
   */
  cut(): boolean
  /** Comes back from what is on the device. The process that had files open must have ended. */
  restore(): Promise<void>
  unmount(): Promise<void>
}

/** Makes an ext4 file system of 1 GiB (sparse) in `folder`. Needs root and loop devices; says so where it may not. */
export function makeFaultyDisk(folder: string): FaultyDisk {
  const image = join(folder, 'disk.img')
  const path = join(folder, 'disk')
  writeFileSync(image, '')
  truncateSync(image, 2 ** 30)
  mkdirSync(path)
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const mount = () => run('mount', '-o', 'loop', image, path)
  const unmount = async () => {
    for (let tries = 0; ; tries++) {
      try {
        run('umount', path)
        return
      } catch (error) {
        // The kernel lets go of a killed process's files a moment after its end.
        if (tries === 100) throw error
        await delay(50)
      }
    }
  }
  try {
    run('mkfs.ext4', '-q', image)
    mount()
  } catch (error) {
    throw new Unavailable(
      'A power cut needs root and loop devices: run it with sudo, in a container with `--privileged`',
      { cause: error },
    )
  }
  return {
    path,
    cut() {
      run('xfs_io', '-x', '-c', 'shutdown', path)
      try {
        writeFileSync(join(path, 'after-the-cut'), 'x')
        return false
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EIO'
      }
    },
    async restore() {
      await unmount()
      mount()
    },
    unmount,
  }
}

/** Stops a process and waits until each of its threads stands still. */
export async function frozen(process: ChildProcess): Promise<void> {
  process.kill('SIGSTOP')
  const tasks = `/proc/${process.pid}/task`
  const running = () =>
    readdirSync(tasks).some((thread) => !/^\d+ \(.*\) [Tt] /.test(readFileSync(`${tasks}/${thread}/stat`, 'utf8')))
  while (running()) await delay(1)
}
