/**
 * Finds the programs that the virtual machine needs from Debian: the kernel and a static busybox. What is
 * not installed is downloaded by apt-get into a directory and unpacked there; nothing is installed.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, globSync } from 'node:fs';
import { join } from 'node:path';

/** The kernel for virtual machines: ext4 and NVMe are built in, so it needs no initramfs. */
const kernelPackage = 'linux-image-cloud-amd64';
const kernelFile = 'boot/vmlinuz-*-cloud-amd64';

export interface Debian {
  kernel: string;
  busybox: string;
}

/** @param directory for downloads, an empty one */
export function findDebian(directory: string): Debian {
  return {
    kernel: newest(kernelFile, '/') ?? download(directory, kernelOf(), kernelFile),
    busybox: staticBusybox() ?? download(directory, 'busybox-static', 'bin/busybox'),
  };
}

/** The packages of the commands that are not installed. */
export function missingPackages(): string[] {
  const packages = {
    'qemu-system-x86_64': 'qemu-system-x86',
    mke2fs: 'e2fsprogs',
    'dpkg-deb': 'dpkg',
    unshare: 'util-linux',
  };
  return Object.entries(packages)
    .filter(([command]) => commandPath(command) === undefined)
    .map(([, name]) => name);
}

/** Also finds programs in the directories for root. */
export function commandPath(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return directories.map((directory) => join(directory, name)).find(isReadable);
}

function kernelOf(): string {
  const text = execFileSync('apt-cache', ['depends', kernelPackage], { encoding: 'utf8' });
  const name = /Depends: (linux-image-\S+)/.exec(text)?.[1];
  if (!name) throw new Error(`cannot find ${kernelPackage}: run apt-get update`);
  return name;
}

function download(directory: string, name: string, pattern: string): string {
  execFileSync('apt-get', ['-qq', '-o', 'APT::Sandbox::User=', 'download', name], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [archive = ''] = globSync(`${name}_*.deb`, { cwd: directory });
  const unpacked = join(directory, name);
  execFileSync('dpkg-deb', ['-x', join(directory, archive), unpacked]);
  const found = newest(pattern, unpacked);
  if (found === undefined) throw new Error(`cannot find ${pattern} in ${archive}`);
  return found;
}

function newest(pattern: string, root: string): string | undefined {
  const files = globSync(pattern, { cwd: root }).map((file) => join(root, file));
  return files
    .filter(isReadable)
    .sort(new Intl.Collator('en', { numeric: true }).compare)
    .at(-1);
}

function staticBusybox(): string | undefined {
  const installed = existsSync('/usr/share/doc/busybox-static');
  return installed ? newest('bin/busybox', '/') : undefined;
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
